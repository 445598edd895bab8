"""What each engine does for a piece of work: one process each, started by beside_peers.py with the work as JSON.

A class per engine. `forward`, `train` and `decode` prepare, run twice untimed, and return milliseconds of each timed run.
"""
import json
import os
import resource
import sys
import time

OPT_125M = {"vocab": 50272, "hidden": 768, "inner": 3072, "layers": 12}


def timed(run, runs, warm_up=2):
    took = []
    for k in range(warm_up + runs):
        start = time.perf_counter()
        run()
        took.append((time.perf_counter() - start) * 1e3)
    return took[warm_up:]


def make_model(folder):
    """OPT-125M with random weights, as transformers saves it and as PyTorch's exporter writes it."""
    import torch
    import transformers
    torch.manual_seed(0)
    model = transformers.OPTForCausalLM(transformers.OPTConfig(attn_implementation="eager", use_cache=False)).eval()
    model.save_pretrained(folder)

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, ids, mask):
            return self.model(input_ids=ids, attention_mask=mask).logits
    ids, mask = torch.ones((2, 8), dtype=torch.int64), torch.ones((2, 8), dtype=torch.int64)
    axes = {0: "batch", 1: "sequence"}
    torch.onnx.export(Logits(), (ids, mask), folder + "/model.onnx", input_names=["input_ids", "attention_mask"],
                      output_names=["logits"], dynamic_axes={n: axes for n in ("input_ids", "attention_mask", "logits")},
                      opset_version=17, dynamo=False)


class OnnxRuntime:
    dtypes = ("f32",)

    def __init__(self, work):
        import onnxruntime
        self.version, options = onnxruntime.__version__, onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = work["threads"], 1
        self.session = onnxruntime.InferenceSession(work["folder"] + "/model.onnx", options, providers=["CPUExecutionProvider"])

    def forward(self, work):
        import numpy
        ids = numpy.ones((work["batch"], work["sequence"]), numpy.int64)
        return timed(lambda: self.session.run(None, {"input_ids": ids, "attention_mask": ids}), work["runs"])


class OpenVino:
    dtypes = ("f32", "bf16")

    def __init__(self, work):
        import openvino
        self.version = openvino.__version__.split("-")[0]
        self.model = openvino.Core().compile_model(work["folder"] + "/model.onnx", "CPU", {
            "INFERENCE_NUM_THREADS": work["threads"], "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": work["dtype"]})

    def forward(self, work):
        import numpy
        ids = numpy.ones((work["batch"], work["sequence"]), numpy.int64)
        return timed(lambda: self.model({"input_ids": ids, "attention_mask": ids}), work["runs"])


class PyTorch:
    dtypes = ("f32", "bf16")
    compiled = False

    def __init__(self, work):
        import torch
        import transformers
        self.torch, self.version = torch, torch.__version__.split("+")[0]
        torch.set_num_threads(work["threads"])
        self.model = transformers.OPTForCausalLM.from_pretrained(work["folder"], attn_implementation="sdpa")
        if work["dtype"] == "bf16" and work["kind"] != "train":
            self.model = self.model.to(torch.bfloat16)
        self.call = torch.compile(self.model) if self.compiled else self.model

    def ids(self, work):
        return self.torch.ones((work["batch"], work["sequence"]), dtype=self.torch.int64)

    def forward(self, work):
        self.model.eval()
        with self.torch.inference_mode():
            return timed(lambda: self.call(self.ids(work), use_cache=False), work["runs"])

    def train(self, work):
        self.model.train()
        adam = self.torch.optim.Adam(self.model.parameters(), lr=1e-4)

        def step():
            adam.zero_grad()
            with self.torch.autocast("cpu", self.torch.bfloat16, enabled=work["dtype"] == "bf16"):
                loss = self.call(self.ids(work), labels=self.ids(work), use_cache=False).loss
            loss.backward()
            adam.step()
        return timed(step, work["runs"])

    def decode(self, work):
        self.model.eval()
        with self.torch.inference_mode():
            past = self.call(self.ids(work), use_cache=True).past_key_values
            one = self.torch.ones((work["batch"], 1), dtype=self.torch.int64)
            return timed(lambda: self.call(one, past_key_values=past, use_cache=True), work["runs"])


class CompiledPyTorch(PyTorch):
    compiled = True

    def decode(self, work):
        raise NotImplementedError  # each length of a growing cache is compiled anew


class CTranslate2:
    dtypes = ("f32", "bf16")

    def __init__(self, work):
        import ctranslate2
        self.version, folder = ctranslate2.__version__, work["folder"] + "/ctranslate2"
        if not os.path.exists(folder):
            self.convert(work["folder"], folder)
        self.generator = ctranslate2.Generator(folder, device="cpu", inter_threads=1, intra_threads=work["threads"],
                                               compute_type={"f32": "float32", "bf16": "bfloat16"}[work["dtype"]])

    @staticmethod
    def convert(model, to):
        """Without a tokenizer: a token's text is its number."""
        from ctranslate2.converters import transformers as converter
        loader = type(converter._MODEL_LOADERS["OPTConfig"])

        def special(self, config, model, tokenizer):
            config.bos_token = config.eos_token = "2"
            config.unk_token = "3"
        loader.get_vocabulary = lambda self, model, tokenizer: [str(k) for k in range(OPT_125M["vocab"])]
        loader.set_config = special
        converter.transformers.AutoTokenizer.from_pretrained = staticmethod(lambda *a, **k: None)
        converter.TransformersConverter(model).convert(to)

    def forward(self, work):
        tokens = [["5"] * work["sequence"]] * work["batch"]
        return timed(lambda: self.generator.forward_batch(tokens), work["runs"])

    def decode(self, work):
        tokens = [["5"] * work["sequence"]] * work["batch"]

        def generate(n):
            self.generator.generate_batch(tokens, max_length=n, min_length=n, include_prompt_in_result=False, end_token="1")
        first, all_of_them = timed(lambda: generate(1), 3, 1), timed(lambda: generate(1 + work["runs"]), 3, 1)
        return [(b - a) / work["runs"] for a, b in zip(first, all_of_them)]


class Products:
    """No engine but a limit: the model's products alone, by PyTorch, weights packed by oneDNN where it does that."""
    dtypes = ("f32", "bf16")

    def __init__(self, work):
        import torch
        self.torch, self.version = torch, ""
        torch.set_num_threads(work["threads"])

    def forward(self, work):
        torch, m = self.torch, OPT_125M
        dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[work["dtype"]]
        rows, h, inner = work["batch"] * work["sequence"], m["hidden"], m["inner"]
        shapes = [(h, h)] * 4 + [(h, inner), (inner, h)]
        products = [(k, torch.randn(n, k).to(dtype)) for k, n in shapes * m["layers"] + [(h, m["vocab"])]]
        x = {k: torch.randn(rows, k).to(dtype) for k in (h, inner)}

        def run():
            for k, w in products:
                torch.nn.functional.linear(x[k], w)
        with torch.inference_mode():
            return timed(run, work["runs"])


ENGINES = {"ONNX Runtime": OnnxRuntime, "OpenVINO": OpenVino, "PyTorch": PyTorch, "PyTorch compiled": CompiledPyTorch,
           "CTranslate2": CTranslate2, "products alone": Products}


def main():
    work = json.loads(sys.argv[1])
    if work["kind"] == "make":
        return make_model(work["folder"])
    engine = ENGINES[work["engine"]](work)
    took = getattr(engine, work["kind"])(work)
    print(json.dumps({"ms": took, "version": engine.version, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


if __name__ == "__main__":
    main()
