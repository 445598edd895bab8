// ONNX Attention against four loops that follow the operator's text, split over devices and run as written graphs.
#include <cmath>
#include <random>

#include "frontend/io/output_transaction.h"
#include "frontend/onnx/export.h"
#include "passes/plan/job.h"
#include "runtime/comm/thread_communicator.h"
#include "runtime/reference.h"
#include "tests/frontend/onnx/model_file.h"
#include "tests/must.h"
#include "tools/check/check_training.h"
#include "tools/check/comparison.h"
#include "tools/run/execution.h"
#include "tools/run/prepare.h"

using namespace optp;

namespace {
constexpr double lowest = -3.4028234663852886e38;
constexpr int64_t batch = 2, hidden = 12, head = 3, v_head = 4;

enum class Mask { none, choice, added, of_heads, of_keys, shorter };
enum class Cache { none, past, counted };
struct Case {
  int64_t opset = 23, heads = 4, kv_heads = 4, mode = -1, left = -1, right = -1, queries = 4, keys = 5, past = 0;
  Mask mask = Mask::none;
  Cache cache = Cache::none;
  bool causal = false, flat = true;
  double softcap = 0;
  int64_t total() const { return past + keys; }
  std::string text() const {
    std::string out;
    for (int64_t n : {opset, heads, kv_heads, mode, left, right, queries, keys, past, int64_t(mask), int64_t(cache),
                      int64_t(causal), int64_t(flat)})
      out += std::to_string(n) + " ";
    return out + std::to_string(softcap);
  }
};

// Numbers of float32, row-major.
struct Numbers4 {
  Numbers dims;
  std::vector<double> values;
  double& at(int64_t a, int64_t b, int64_t c, int64_t d) {
    return values[size_t(((a * dims[1] + b) * dims[2] + c) * dims[3] + d)];
  }
  // An extent of 1 stands for all indices.
  double broadcast(int64_t a, int64_t b, int64_t c, int64_t d) {
    return at(dims[0] == 1 ? 0 : a, dims[1] == 1 ? 0 : b, dims[2] == 1 ? 0 : c, d);
  }
};
Numbers4 drawn(std::mt19937& random, Numbers dims) {
  Numbers4 out{dims, {}};
  int64_t n = 1;
  for (int64_t d : dims) n *= d;
  for (int64_t k = 0; k < n; ++k) out.values.push_back(double(float(double(random() % 2001) / 1000 - 1)));
  return out;
}
// x: [batch, rows, hidden], w: [hidden, heads · size]; gives [batch, heads, rows, size]
Numbers4 projected(const Numbers4& x, const Numbers4& w, int64_t heads, int64_t size) {
  const int64_t rows = x.dims[1], width = heads * size;
  Numbers4 out{{batch, heads, rows, size}, std::vector<double>(size_t(batch * rows * width))};
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t n = 0; n < width; ++n)
        for (int64_t k = 0; k < hidden; ++k)
          out.at(b, n / size, r, n % size) +=
              x.values[size_t((b * rows + r) * hidden + k)] * w.values[size_t(k * width + n)];
  return out;
}
Numbers4 joined(Numbers4 past, Numbers4 now) {
  Numbers4 out{now.dims, {}};
  out.dims[2] += past.dims[2];
  for (int64_t b = 0; b < out.dims[0]; ++b)
    for (int64_t h = 0; h < out.dims[1]; ++h)
      for (Numbers4* from : {&past, &now})
        for (int64_t t = 0; t < from->dims[2]; ++t)
          for (int64_t d = 0; d < out.dims[3]; ++d) out.values.push_back(from->at(b, h, t, d));
  return out;
}

struct Sample {
  std::map<std::string, Numbers4> inputs, weights;
  std::vector<int64_t> counts;
  Numbers4 mask;  // 4 dims, as added numbers: 0 and -∞ of a choice; none: no dims
};
Sample sample_of(const Case& c, unsigned seed) {
  std::mt19937 random(seed);
  Sample s;
  s.inputs["x"] = drawn(random, {batch, c.queries, hidden});
  s.inputs["memory"] = drawn(random, {batch, c.keys, hidden});
  s.weights["wq"] = drawn(random, {hidden, c.heads * head});
  s.weights["wk"] = drawn(random, {hidden, c.kv_heads * head});
  s.weights["wv"] = drawn(random, {hidden, c.kv_heads * v_head});
  s.weights["wo"] = drawn(random, {c.heads * v_head, hidden});
  if (c.cache == Cache::past) {
    s.inputs["past_k"] = drawn(random, {batch, c.kv_heads, c.past, head});
    s.inputs["past_v"] = drawn(random, {batch, c.kv_heads, c.past, v_head});
  }
  // Of the second sequence so few that its first queries precede all keys.
  if (c.cache == Cache::counted) s.counts = {c.keys - 1, c.queries - 2};
  const int64_t keys = c.total();
  switch (c.mask) {
    case Mask::none:
      break;
    case Mask::choice:
      s.mask = drawn(random, {batch, 1, c.queries, keys});
      for (double& v : s.mask.values) v = v > -0.3 ? 0 : -INFINITY;
      for (int64_t t = 0; t < keys; ++t) s.mask.at(0, 0, 1, t) = -INFINITY;
      break;
    case Mask::added:
      s.mask = drawn(random, {1, 1, c.queries, keys});
      for (int64_t t = 0; t < keys; ++t) s.mask.at(0, 0, 2, t) = -INFINITY;
      s.mask.at(0, 0, 3, 0) = -INFINITY;
      break;
    case Mask::of_heads:
      s.mask = drawn(random, {1, c.heads, c.queries, keys});
      for (int64_t t = 0; t < keys; ++t) s.mask.at(0, 1, 1, t) = lowest;
      for (int64_t t = 0; t < keys; ++t) s.mask.at(0, 0, 2, t) = t == keys - 1 ? lowest : -INFINITY;
      break;
    case Mask::of_keys:
      s.mask = drawn(random, {batch, 1, 1, keys});
      for (int64_t t = 0; t < keys; ++t) s.mask.at(1, 0, 0, t) = t == 1 ? 0 : -INFINITY;
      break;
    case Mask::shorter:
      s.mask = drawn(random, {batch, 1, c.queries, keys - 1});
      break;
  }
  return s;
}

// What Attention's text says, element by element.
struct Answer {
  Numbers4 y, k, v, shown;
};
Answer answer_of(const Case& c, Sample& s) {
  Numbers4 q = projected(s.inputs["x"], s.weights["wq"], c.heads, head);
  Numbers4 k = projected(s.inputs["memory"], s.weights["wk"], c.kv_heads, head);
  Numbers4 v = projected(s.inputs["memory"], s.weights["wv"], c.kv_heads, v_head);
  if (c.cache == Cache::past) k = joined(s.inputs["past_k"], k), v = joined(s.inputs["past_v"], v);
  const int64_t keys = c.total();
  Answer out{{{batch, c.queries, hidden}, std::vector<double>(size_t(batch * c.queries * hidden))},
             k,
             v,
             {{batch, c.heads, c.queries, keys}, std::vector<double>(size_t(batch * c.heads * c.queries * keys))}};
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t h = 0; h < c.heads; ++h)
      for (int64_t i = 0; i < c.queries; ++i) {
        const int64_t of = h / (c.heads / c.kv_heads);
        const int64_t offset = c.cache == Cache::counted ? s.counts[size_t(b)] - c.queries : c.past;
        std::vector<double> share(size_t(keys), 0.0);
        bool keyless = true;
        double most = -INFINITY, sum = 0;
        for (int64_t j = 0; j < keys; ++j) {
          double score = 0, bias = 0;
          for (int64_t d = 0; d < head; ++d) score += q.at(b, h, i, d) * k.at(b, of, j, d);
          score /= std::sqrt(double(head));
          if (c.mode == 0) out.shown.at(b, h, i, j) = score;
          if (c.softcap > 0) score = c.softcap * std::tanh(score / c.softcap);
          if (c.mode == 1) out.shown.at(b, h, i, j) = score;
          if (!s.mask.dims.empty()) bias = j < s.mask.dims[3] ? s.mask.broadcast(b, h, i, j) : -INFINITY;
          if (c.causal && j > i + offset) bias = -INFINITY;
          if (c.left >= 0 && j < i + offset - c.left) bias = -INFINITY;
          if (c.right >= 0 && j > i + offset + c.right) bias = -INFINITY;
          if (c.cache == Cache::counted && j >= s.counts[size_t(b)]) bias = -INFINITY;
          keyless &= bias == -INFINITY;
          share[size_t(j)] = double(bias == lowest ? float(lowest) : float(score + bias));
          if (c.mode == 2) out.shown.at(b, h, i, j) = share[size_t(j)];
          most = std::max(most, share[size_t(j)]);
        }
        for (double& x : share) sum += x = keyless ? 0 : std::exp(x - most);
        for (int64_t j = 0; j < keys; ++j) {
          if (!keyless) share[size_t(j)] /= sum;
          if (c.mode == 3) out.shown.at(b, h, i, j) = share[size_t(j)];
          for (int64_t d = 0; d < v_head; ++d)
            for (int64_t n = 0; n < hidden; ++n)
              out.y.values[size_t((b * c.queries + i) * hidden + n)] +=
                  share[size_t(j)] * v.at(b, of, j, d) * s.weights["wo"].values[size_t((h * v_head + d) * hidden + n)];
        }
      }
  return out;
}

void add_numbers(onnx::ModelProto& m, const std::string& name, const Numbers4& from) {
  auto& t = *m.mutable_graph()->add_initializer();
  t.set_name(name);
  t.set_data_type(onnx::TensorProto::FLOAT);
  for (int64_t d : from.dims) t.add_dims(d);
  for (double v : from.values) t.add_float_data(float(v));
}
void name_dims(onnx::ModelProto& m, const std::string& input, const Names& dims) {
  for (auto& v : *m.mutable_graph()->mutable_input())
    if (v.name() == input)
      for (size_t k = 0; k < dims.size(); ++k)
        if (!dims[k].empty())
          v.mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim(int(k))->set_dim_param(dims[k]);
}
void add_output(onnx::ModelProto& m, const std::string& name) { m.mutable_graph()->add_output()->set_name(name); }

onnx::NodeProto& attention_of(onnx::ModelProto& m) {
  for (auto& n : *m.mutable_graph()->mutable_node())
    if (n.op_type() == "Attention") return n;
  throw std::logic_error("no Attention");
}
// Projections of x and memory around one Attention, whose extents are open.
onnx::ModelProto model_of(const Case& c, Sample& s) {
  auto m = empty_model(c.opset);
  m.set_ir_version(10);
  const bool counted = c.cache == Cache::counted;
  const std::string keys = c.mask == Mask::shorter && !counted ? "" : "t";
  add_input(m, "x", onnx::TensorProto::FLOAT, {batch, c.queries, hidden});
  add_input(m, "memory", onnx::TensorProto::FLOAT, {batch, c.keys, hidden});
  name_dims(m, "x", {"b", "s"});
  name_dims(m, "memory", {"b", keys});
  for (const auto& [name, w] : s.weights) add_numbers(m, name, w);
  for (auto [name, from, heads, size] :
       {std::tuple{"q", "x", c.heads, head}, {"k", "memory", c.kv_heads, head}, {"v", "memory", c.kv_heads, v_head}}) {
    const std::string n = name;
    add_node(m, "MatMul", n + "_proj", {from, "w" + n}, {c.flat ? n : n + "_flat"});
    if (c.flat) continue;
    add_integers(m, n + "_shape", {0, 0, heads, size});
    add_node(m, "Reshape", n + "_reshape", {n + "_flat", n + "_shape"}, {n + "_apart"});
    set(add_node(m, "Transpose", n + "_transpose", {n + "_apart"}, {n}), "perm", Numbers{0, 2, 1, 3});
  }
  Names operands{"q", "k", "v", "", "", "", ""};
  if (c.mask != Mask::none) {
    // Leading extents of 1 are left out: a mask has from 1 to 4 dims.
    Numbers dims = s.mask.dims;
    Names names{dims[0] == batch ? "b" : "", "", dims[2] == c.queries ? "s" : "", ""};
    if (c.mask == Mask::shorter)
      names[3] = counted ? "m" : c.cache == Cache::past ? "p + " + std::to_string(c.keys - 1) : "";
    else
      names[3] = c.cache == Cache::past ? "p + t" : "t";
    while (dims[0] == 1) dims.erase(dims.begin()), names.erase(names.begin());
    add_input(m, "mask", c.mask == Mask::choice ? onnx::TensorProto::BOOL : onnx::TensorProto::FLOAT, dims);
    name_dims(m, "mask", names);
    operands[3] = "mask";
  }
  if (c.cache == Cache::past) {
    for (const char* name : {"past_k", "past_v"}) {
      add_input(m, name, onnx::TensorProto::FLOAT, s.inputs[name].dims);
      name_dims(m, name, {"b", "", "p"});
    }
    operands[4] = "past_k", operands[5] = "past_v";
  }
  if (counted) {
    add_input(m, "counts", onnx::TensorProto::INT64, {batch});
    name_dims(m, "counts", {"b"});
    operands[6] = "counts";
  }
  while (operands.back().empty()) operands.pop_back();
  auto& n = add_node(m, "Attention", "the_node", operands, {"context", "present_k", "present_v", "shown"});
  if (c.causal) set(n, "is_causal", int64_t(1));
  if (c.softcap > 0) set(n, "softcap", float(c.softcap));
  if (c.mode >= 0) set(n, "qk_matmul_output_mode", c.mode);
  if (c.left >= 0) set(n, "left_window_size", c.left);
  if (c.right >= 0) set(n, "right_window_size", c.right);
  std::string context = "context";
  if (c.flat) {
    set(n, "q_num_heads", c.heads);
    set(n, "kv_num_heads", c.kv_heads);
  } else {
    set(add_node(m, "Transpose", "context_transpose", {"context"}, {"context_apart"}), "perm", Numbers{0, 2, 1, 3});
    add_integers(m, "context_shape", {0, 0, c.heads * v_head});
    add_node(m, "Reshape", "context_reshape", {"context_apart", "context_shape"}, {"context_flat"});
    context = "context_flat";
  }
  add_node(m, "MatMul", "o_proj", {context, "wo"}, {"y"});
  add_output(m, "y");
  if (c.cache == Cache::past) add_output(m, "present_k"), add_output(m, "present_v");
  if (c.mode >= 0) add_output(m, "shown");
  return m;
}
Array array_of(const Numbers4& from, bool floating = true) {
  Array a;
  a.resize(floating, from.dims);
  for (size_t k = 0; k < from.values.size(); ++k)
    if (floating)
      a.f[k] = from.values[k];
    else
      a.i[k] = from.values[k] == 0;
  return a;
}
HostArrays inputs_of(const Case& c, const Sample& s) {
  HostArrays out;
  for (const auto& [name, from] : s.inputs) out[name] = host_array(array_of(from), DType::f32);
  if (!s.mask.dims.empty()) {
    Array a = array_of(s.mask, c.mask != Mask::choice);
    while (a.dims[0] == 1) a.dims.erase(a.dims.begin());
    out["mask"] = host_array(a, c.mask == Mask::choice ? DType::boolean : DType::f32);
  }
  if (!s.counts.empty()) {
    Array a;
    a.resize(false, {batch});
    a.i = s.counts;
    out["counts"] = host_array(a, DType::i64);
  }
  return out;
}
// As users run it: graphs written, read back, one thread a device.
std::map<std::string, Array> run(const std::string& model, int64_t devices, const HostArrays& inputs) {
  const ScratchFolder folder;
  JobOptions o;
  o.model = model;
  o.devices = devices;
  Job job = must(make_job(o));
  Shapes shapes;
  for (const auto& [name, a] : inputs) shapes[name].assign(a.dims.begin(), a.dims.end());
  const DimValues dims = must(bind_input_dims(*job.imported, shapes));
  auto out = must(OutputTransaction::begin(folder / "out"));
  for (size_t r = 0; r < job.ranks.size(); ++r)
    if (auto e = write_rank_model(*job.ranks[r], out, "rank" + std::to_string(r))) FAIL(llvm::toString(std::move(e)));
  if (auto e = out.commit()) FAIL(llvm::toString(std::move(e)));
  std::vector<std::unique_ptr<Graph>> graphs;
  std::vector<const Graph*> ranks;
  std::vector<HostArrays> parts;
  for (size_t r = 0; r < job.ranks.size(); ++r) {
    graphs.push_back(
        must(bind_dims(*must(import_onnx(folder / ("out/rank" + std::to_string(r) + "/model.onnx"))), dims)));
    ranks.push_back(graphs.back().get());
    parts.push_back(take_shards(inputs, *must(bind_dims(*job.ranks[r], dims)), job.whole->mesh, int64_t(r)));
  }
  ThreadWorld world(ranks.size());
  auto results = must(execute(world, PerRank<const Graph*>::of_all(ranks), PerRank<HostArrays>::of_all(parts),
                              {.threads_per_device = 1}));
  std::map<std::string, Array> wholes;
  for (size_t k = 0; k < job.whole->outputs.size(); ++k) {
    const GraphOutput& output = job.whole->outputs[k];
    Array& whole = wholes[output.name];
    llvm::SmallVector<int64_t, 4> extents;
    for (Dim d : output.value->type.dims) extents.push_back(must(evaluate(d, dims)));
    whole.resize(true, extents);
    for (size_t r = 0; r < ranks.size(); ++r)
      put(Shard::of(extents, *job.ranks[r]->outputs[k].value->sharding, job.whole->mesh, int64_t(r)), whole,
          to_array(results[r][output.name]));
  }
  return wholes;
}

std::vector<Case> cases() {
  std::vector<Case> out;
  unsigned mix = 0;
  for (int64_t opset : {23, 24, 25})
    for (Cache cache : {Cache::none, Cache::past, Cache::counted})
      for (Mask mask : {Mask::none, Mask::choice, Mask::added, Mask::of_heads, Mask::of_keys, Mask::shorter})
        for (bool causal : {false, true}) {
          if (cache == Cache::counted && opset < 24) continue;
          Case c{.opset = opset, .mask = mask, .cache = cache, .causal = causal};
          // The rest goes round in turns whose lengths have no common divisor with each other's.
          const int64_t heads[][2] = {{4, 4}, {4, 2}, {3, 1}, {6, 2}, {2, 2}, {5, 5}, {6, 3}};
          c.heads = heads[mix % 7][0], c.kv_heads = heads[mix % 7][1];
          c.mode = int64_t(mix % 5) - 1;
          c.softcap = mix % 3 == 1 ? 0.75 : 0;
          c.flat = mix / 2 % 2 == 0;
          if (cache == Cache::past) c.past = int64_t(mix % 4);  // 0: a cache that is there and empty
          if (cache != Cache::none) c.keys = cache == Cache::past ? 4 : 6;
          if (opset >= 25) c.left = int64_t(mix % 4) - 1, c.right = int64_t(mix / 4 % 3) - 1;
          ++mix;
          out.push_back(c);
        }
  return out;
}
}  // namespace

TEST_CASE("attention with any masks, cache, heads and stage is what its text says, on one device and on several") {
  const ScratchFolder folder;
  unsigned seed = 1;
  for (const Case& c : cases()) {
    CAPTURE(c.text());
    Sample s = sample_of(c, seed++);
    const std::string model = folder.put("model.onnx", model_of(c, s).SerializeAsString());
    const Answer answer = answer_of(c, s);
    for (int64_t devices : {1, 2, 3}) {
      CAPTURE(devices);
      auto found = run(model, devices, inputs_of(c, s));
      for (auto [name, expected] :
           {std::pair{"y", &answer.y}, {"present_k", &answer.k}, {"present_v", &answer.v}, {"shown", &answer.shown}}) {
        auto it = found.find(name);
        if (it == found.end()) continue;
        CAPTURE(name);
        CHECK(it->second.dims == array_of(*expected).dims);
        CHECK(difference(it->second, array_of(*expected), false) < 1e-5);  // what float32 promises
      }
    }
  }
}

TEST_CASE("an output of attention that nothing uses may be of any mode; one that is used has a known mode") {
  Case c{.mode = 0};
  Sample s = sample_of(c, 1);
  auto m = model_of(c, s);
  attention_of(m).mutable_attribute()->Clear();
  set(attention_of(m), "q_num_heads", int64_t(4));
  set(attention_of(m), "kv_num_heads", int64_t(4));
  set(attention_of(m), "qk_matmul_output_mode", int64_t(4));
  refuse("an unknown mode", m, {"node 'the_node' (Attention): output 3 'shown' is not supported"});
  auto used = m;
  m.mutable_graph()->mutable_output()->RemoveLast();
  accept("an unknown mode of an output that is not used", m);
  used.mutable_graph()->mutable_output()->RemoveLast();
  add_node(used, "Relu", "user", {"shown"}, {"z"});
  add_output(used, "z");
  refuse("an unknown mode of an output that a node uses", used, {"output 3 'shown' is not supported"});
}

TEST_CASE("what attention can't mean is refused") {
  auto model = [](const Case& c) {
    Sample s = sample_of(c, 1);
    return model_of(c, s);
  };
  auto m = model({.past = 2, .cache = Cache::past});
  attention_of(m).set_input(5, "");
  refuse("keys of a cache without values", m, {"past_key and past_value: expected both or none"});
  m = model({.opset = 24, .past = 2, .cache = Cache::past});
  add_input(m, "counts", onnx::TensorProto::INT64, {batch});
  attention_of(m).add_input("counts");
  refuse("two kinds of cache", m, {"operand 6 'counts': nonpad_kv_seqlen and past_key: expected one of them"});
  m = model({.opset = 24, .cache = Cache::counted});
  m.mutable_graph()->mutable_input(2)->mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::INT32);
  refuse("counts of another type", m, {"operand 6 'counts': dtype: expected int64, found int32"});
  attention_of(m).mutable_attribute()->Clear();
  m = model({.softcap = 1});
  for (auto& a : *attention_of(m).mutable_attribute())
    if (a.name() == "softcap") a.set_f(-1);
  refuse("a negative cap", m, {"softcap -1.00: expected 0 or more"});
  m = model({.opset = 25, .left = 1});
  for (auto& a : *attention_of(m).mutable_attribute())
    if (a.name() == "left_window_size") a.set_i(-2);
  refuse("a negative window", m, {"left_window_size -2: expected -1 or more"});
  m = model({.keys = 3, .mask = Mask::shorter});
  m.mutable_graph()
      ->mutable_input(2)
      ->mutable_type()
      ->mutable_tensor_type()
      ->mutable_shape()
      ->mutable_dim(3)
      ->set_dim_value(4);
  refuse("a mask of more keys than there are", m, {"operand 3 'mask': expected at most 3 keys, found 4"});
}

TEST_CASE("training through queries without keys has finite gradients") {
  const ScratchFolder folder;
  const Case c{.mask = Mask::choice, .causal = true};
  Sample s = sample_of(c, 7);
  // Tokens in, logits out; the mask leaves one query no key.
  auto m = model_of(c, s);
  auto& g = *m.mutable_graph();
  g.mutable_input()->erase(g.mutable_input()->begin(), g.mutable_input()->begin() + 2);
  add_input(m, "ids", onnx::TensorProto::INT64, {batch, c.queries});
  name_dims(m, "ids", {"b", "s"});
  name_dims(m, "mask", {"b", "", "s", "s"});
  std::mt19937 random(5);
  add_numbers(m, "table", drawn(random, {17, hidden}));
  add_numbers(m, "lm_head", drawn(random, {hidden, 17}));
  for (auto& n : *g.mutable_node())
    for (auto& i : *n.mutable_input())
      if (i == "x" || i == "memory") i = "h";
  add_node(m, "Gather", "embed", {"table", "ids"}, {"h"});
  add_node(m, "MatMul", "head", {"y", "lm_head"}, {"logits"});
  g.clear_output();
  add_output(m, "logits");
  Array mask;
  mask.resize(false, {batch, 1, c.queries, c.queries});
  for (size_t k = 0; k < mask.i.size(); ++k) mask.i[k] = int64_t(k) / c.queries % c.queries != 1;
  if (auto e = write_npy(folder / "mask.npy", host_array(mask, DType::boolean))) FAIL(llvm::toString(std::move(e)));
  TrainingCheckOptions o;
  o.job.model = folder.put("model.onnx", m.SerializeAsString());
  o.job.train = true;
  o.inputs = {"mask=@" + (folder / "mask.npy"), "ids=rand(3)"};
  o.job.dims.values = {{"b", 2}};
  JobOptions forward = o.job;
  forward.train = false;
  const Job job = must(make_job(forward));
  ThreadWorld world(job.ranks.size());
  const TrainingCheck found = must(check_training(o, job, world));
  CHECK(!found.fault);
  for (const Row& row : found.rows) {
    CAPTURE(row.name);
    CHECK(std::isfinite(row.error));
  }
}
