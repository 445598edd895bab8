"""Model families at two layers: how each is made, and what goes in.

A family is a transformers model type with a task, a configuration at the size of SMALL, or a module of this file for
what transformers does not have. Seeds are fixed: the same versions make the same weights.
"""
import math

import torch
from torch import nn

# What a configuration calls its sizes; each gets those that it has.
SMALL = dict(
    hidden_size=48, d_model=48, n_embd=48, dim=48, embedding_size=48, word_embed_proj_dim=48,
    num_hidden_layers=2, n_layer=2, n_layers=2, num_layers=2, encoder_layers=2, decoder_layers=2, num_decoder_layers=2,
    num_attention_heads=4, n_head=4, n_heads=4, num_heads=4, encoder_attention_heads=4, decoder_attention_heads=4,
    num_key_value_heads=2, num_kv_heads=2, head_dim=12, d_kv=12,
    intermediate_size=96, ffn_dim=96, d_ff=96, hidden_dim=96, n_inner=96, encoder_ffn_dim=96, decoder_ffn_dim=96,
    vocab_size=131, max_position_embeddings=64, n_positions=64, n_ctx=64, max_seq_len=64,
    pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=2,
    dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, hidden_dropout=0.0, hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, layerdrop=0.0, dropout_rate=0.0,
    classifier_dropout=0.0, encoder_layerdrop=0.0, decoder_layerdrop=0.0, resid_dropout=0.0, embd_dropout=0.0,
)
EXPERTS = dict(num_local_experts=4, num_experts=4, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=24,
               experts_implementation="batched_mm")
VISION = dict(image_size=16, patch_size=4, num_channels=3)
SPEECH = dict(conv_dim=(24, 24), conv_kernel=(4, 3), conv_stride=(3, 2), num_feat_extract_layers=2,
              num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, apply_spec_augment=False, mask_time_prob=0.0)
HALF = dict(rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5))
LATENT = dict(q_lora_rank=16, kv_lora_rank=16, qk_rope_head_dim=4, qk_nope_head_dim=8, v_head_dim=12, head_dim=4,
              first_k_dense_replace=1, n_group=2, topk_group=1, n_shared_experts=1, num_key_value_heads=4)


class Family:
    LANGUAGE = ("CausalLM", "MaskedLM", "Seq2SeqLM", "Speech2Seq", "module", "lora")

    def __init__(self, name, task="CausalLM", model_type=None, **config):
        self.name, self.task, self.model_type, self.config = name, task, model_type or name, config

    @property
    def output(self):
        """What training takes for scores of a vocabulary goes by this name."""
        return "logits" if self.task in self.LANGUAGE else "y"


FAMILIES = [
    # decoders
    Family("opt"), Family("gpt2"), Family("gpt_neo", attention_types=[[["global", "local"], 1]], window_size=8),
    Family("gptj", rotary_dim=8), Family("gpt_neox"), Family("gpt_bigcode", multi_query=True),
    Family("codegen", rotary_dim=8), Family("bloom"), Family("falcon"), Family("mpt"), Family("xglm", num_layers=2),
    Family("biogpt"), Family("openai-gpt"), Family("llama"), Family("mistral", sliding_window=8), Family("qwen2"),
    Family("qwen3"), Family("gemma"), Family("gemma2", sliding_window=8, query_pre_attn_scalar=12),
    Family("gemma3_text", sliding_window=8, query_pre_attn_scalar=12), Family("phi"), Family("phi3"),
    Family("stablelm", **HALF), Family("starcoder2"), Family("olmo"), Family("olmo2"), Family("olmo3", sliding_window=8),
    Family("cohere"), Family("cohere2", sliding_window=8), Family("glm", **HALF), Family("glm4", **HALF), Family("granite"),
    Family("helium", rms_norm_eps=1e-5), Family("persimmon"), Family("smollm3"), Family("nemotron"), Family("exaone4", sliding_window=8),
    Family("ernie4_5"), Family("arcee"), Family("seed_oss"),
    Family("mixtral", **EXPERTS), Family("qwen2_moe", shared_expert_intermediate_size=48, **EXPERTS),
    Family("qwen3_moe", **EXPERTS), Family("olmoe", **EXPERTS), Family("granitemoe", **EXPERTS),
    Family("gpt_oss", sliding_window=8, **EXPERTS), Family("deepseek_v3", **{**EXPERTS, **LATENT}),
    # encoders
    Family("bert", "MaskedLM"), Family("roberta", "MaskedLM"), Family("distilbert", "MaskedLM"),
    Family("albert", "MaskedLM"), Family("electra", "MaskedLM"), Family("mpnet", "MaskedLM"),
    Family("deberta", "MaskedLM", relative_attention=True, pos_att_type=["c2p", "p2c"], position_biased_input=False),
    Family("deberta-v2", "MaskedLM", relative_attention=True, pos_att_type=["c2p", "p2c"], position_buckets=8,
           norm_rel_ebd="layer_norm", share_att_key=True, position_biased_input=False),
    Family("modernbert", "MaskedLM", local_attention=8, global_attn_every_n_layers=2),
    Family("roformer", "MaskedLM"), Family("bert-classes", "SequenceClassification", "bert", num_labels=3),
    Family("roberta-tokens", "TokenClassification", "roberta", num_labels=3),
    Family("distilbert-answers", "QuestionAnswering", "distilbert"),
    # encoders and decoders
    Family("t5", "Seq2SeqLM", feed_forward_proj="gated-gelu"), Family("mt5", "Seq2SeqLM"),
    Family("longt5", "Seq2SeqLM", local_radius=4, encoder_attention_type="local"), Family("bart", "Seq2SeqLM"),
    Family("mbart", "Seq2SeqLM"), Family("pegasus", "Seq2SeqLM"), Family("marian", "Seq2SeqLM"),
    Family("m2m_100", "Seq2SeqLM"), Family("blenderbot", "Seq2SeqLM"),
    Family("whisper", "Speech2Seq", num_mel_bins=12, max_source_positions=12, max_target_positions=64),
    # images and sound
    Family("vit", "ImageClassification", **VISION), Family("deit", "Vision", "deit", **VISION),
    Family("beit", "ImageClassification", out_indices=[1], **VISION), Family("dinov2", "ImageClassification", **VISION),
    # its positions are interpolated to a picture larger than it was made for
    Family("dinov2-larger", "ImageClassification", "dinov2", pixels=24, **VISION),
    Family("clip-text", "Text", "clip_text_model"), Family("clip-vision", "Vision", "clip_vision_model", **VISION),
    Family("siglip-vision", "Vision", "siglip_vision_model", **VISION),
    Family("wav2vec2", "CTC", **SPEECH), Family("hubert", "CTC", **SPEECH),
    # by hand
    Family("mingpt", "module"), Family("keras-attention", "module"), Family("x-transformers-rotary", "module"),
    Family("llama-lora", "lora", "llama"), Family("llama-lora-inputs", "lora", "llama"),
]


def seeded(module, seed=7):
    """Fresh layers have biases of zeros and norms of ones: make every parameter count."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            if p.dim() == 1:
                p.add_(0.1 * torch.randn(p.shape, generator=g))
            elif not p.any():  # biases of experts: equal tensors would be merged
                p.add_(0.1 * torch.randn(p.shape, generator=g))
            elif p.dim() == 2:
                p.mul_(3.0)
    return module.eval()


class MinGPT(nn.Module):
    """Karpathy's minGPT: one product for q, k and v, a triangle as a buffer, masked_fill with -inf."""

    def __init__(self, width=48, heads=4, layers=2, vocab=131, block=64):
        super().__init__()
        self.heads = heads
        self.tok, self.pos = nn.Embedding(vocab, width), nn.Parameter(torch.randn(1, block, width))
        self.blocks = nn.ModuleList(nn.ModuleDict(dict(
            ln_1=nn.LayerNorm(width), c_attn=nn.Linear(width, 3 * width), c_proj=nn.Linear(width, width),
            ln_2=nn.LayerNorm(width), c_fc=nn.Linear(width, 4 * width), c_out=nn.Linear(4 * width, width)))
            for _ in range(layers))
        self.ln_f, self.head = nn.LayerNorm(width), nn.Linear(width, vocab, bias=False)
        self.register_buffer("triangle", torch.tril(torch.ones(block, block)).view(1, 1, block, block))

    def forward(self, input_ids):
        b, t = input_ids.shape
        x = self.tok(input_ids) + self.pos[:, :t]
        for block in self.blocks:
            q, k, v = block["c_attn"](block["ln_1"](x)).split(x.shape[-1], dim=2)
            q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in (q, k, v))
            scores = (q @ k.transpose(-2, -1)) / math.sqrt(k.shape[-1])
            scores = scores.masked_fill(self.triangle[:, :, :t, :t] == 0, float("-inf"))
            y = (scores.softmax(-1) @ v).transpose(1, 2).contiguous().view(b, t, -1)
            x = x + block["c_proj"](y)
            h = block["c_fc"](block["ln_2"](x))
            x = x + block["c_out"](0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3))))
        return self.head(self.ln_f(x))


class KerasAttention(nn.Module):
    """As Keras' MultiHeadAttention does it: weights [width, heads, head], products by einsum."""

    def __init__(self, width=48, heads=4, layers=2, vocab=131):
        super().__init__()
        head = width // heads
        self.tok = nn.Embedding(vocab, width)
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(shape) / 7) for _ in range(layers)
            for shape in 3 * [(width, heads, head)] + [(heads, head, width), (width, 2 * width), (2 * width, width)])
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * layers))
        self.head = nn.Linear(width, vocab)
        self.layers = layers

    def forward(self, input_ids):
        x = self.tok(input_ids)
        for n in range(self.layers):
            wq, wk, wv, wo, w1, w2 = self.weights[6 * n:6 * n + 6]
            q, k, v = (torch.einsum("abc,cde->abde", x, w) for w in (wq, wk, wv))
            scores = torch.einsum("aecd,abcd->acbe", k, q * (1 / math.sqrt(q.shape[-1])))
            context = torch.einsum("acbe,aecd->abcd", scores.softmax(-1), v)
            x = self.norms[2 * n](x + torch.einsum("abcd,cde->abe", context, wo))
            x = self.norms[2 * n + 1](x + torch.relu(x @ w1) @ w2)
        return self.head(x)


class RotaryTransformer(nn.Module):
    """As x-transformers has it: rotary pairs interleaved by rearranging, a norm that scales by √width, gated units."""

    def __init__(self, width=48, heads=4, layers=2, vocab=131):
        super().__init__()
        self.heads, self.tok = heads, nn.Embedding(vocab, width)
        self.blocks = nn.ModuleList(nn.ModuleDict(dict(
            q=nn.Linear(width, width, bias=False), kv=nn.Linear(width, 2 * width, bias=False),
            out=nn.Linear(width, width, bias=False), gate=nn.Linear(width, 4 * width), down=nn.Linear(2 * width, width)))
            for _ in range(layers))
        self.g = nn.ParameterList(nn.Parameter(torch.ones(width)) for _ in range(2 * layers + 1))
        self.register_buffer("inv_freq", 1.0 / 10000 ** (torch.arange(0, 12, 2).float() / 12))
        self.head = nn.Linear(width, vocab, bias=False)

    def norm(self, x, g):
        return torch.nn.functional.normalize(x, dim=-1) * x.shape[-1] ** 0.5 * g

    def rotate(self, x, angles):
        a, b = x.reshape(*x.shape[:-1], -1, 2).unbind(-1)
        return x * angles.cos() + torch.stack((-b, a), -1).reshape(x.shape) * angles.sin()

    def forward(self, input_ids):
        b, t = input_ids.shape
        x = self.tok(input_ids)
        place = torch.arange(t, device=x.device).float()
        angles = torch.einsum("i,j->ij", place, self.inv_freq).repeat_interleave(2, -1)
        keep = place.view(t, 1) >= place.view(1, t)
        for n, block in enumerate(self.blocks):
            h = self.norm(x, self.g[2 * n])
            k, v = block["kv"](h).chunk(2, dim=-1)
            q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in (block["q"](h), k, v))
            q, k = self.rotate(q, angles), self.rotate(k, angles)
            scores = torch.einsum("bhid,bhjd->bhij", q, k) * q.shape[-1] ** -0.5
            scores = scores.masked_fill(~keep, -torch.finfo(scores.dtype).max)
            y = torch.einsum("bhij,bhjd->bhid", scores.softmax(-1), v)
            x = x + block["out"](y.transpose(1, 2).reshape(b, t, -1))
            u, gate = block["gate"](self.norm(x, self.g[2 * n + 1])).chunk(2, dim=-1)
            x = x + block["down"](u * torch.nn.functional.gelu(gate))
        return self.head(self.norm(x, self.g[-1]))


class LowRank(nn.Module):
    """A frozen linear layer and a low-rank branch beside it (Hu et al., arXiv:2106.09685)."""

    def __init__(self, base, rank=4):
        super().__init__()
        self.base = base
        self.A, self.B = nn.Parameter(torch.randn(rank, base.in_features) / 7), nn.Parameter(
            torch.randn(base.out_features, rank) / 7)

    def forward(self, x):
        return self.base(x) + 2.0 * nn.functional.linear(nn.functional.linear(x, self.A), self.B)


class Called(nn.Module):
    """forward(inputs in order) → the first result, for the exporters."""

    def __init__(self, model, names, pick):
        super().__init__()
        self.model, self.names, self.pick = model, names, pick

    def forward(self, *args):
        y = self.model(**dict(zip(self.names, args)), **({} if isinstance(self.model, PLAIN) else {"return_dict": True}))
        return self.pick(y)


class CalledWithLora(nn.Module):
    """The low-rank weights of the first layer's q are inputs."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, a, b):
        q = self.model.model.layers[0].self_attn.q_proj
        saved, q.forward = q.forward, lambda x: nn.functional.linear(x, q.weight) + nn.functional.linear(
            nn.functional.linear(x, a), b)
        try:
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        finally:
            q.forward = saved


PLAIN = (MinGPT, KerasAttention, RotaryTransformer)


def config_of(family):
    import transformers
    kind = type(transformers.AutoConfig.for_model(family.model_type))
    has = kind().to_dict()
    sizes = {k: v for k, v in SMALL.items() if k in has}
    sizes.update({k: v for k, v in family.config.items() if k in has})
    config = kind(**sizes)
    config.use_cache = False
    if "experts_implementation" in family.config:
        config._experts_implementation = family.config["experts_implementation"]
    return config


def text(shape, seed, vocab=131):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(4, vocab, shape, generator=g)


def make(family, attention="eager"):
    """(module for the exporters, inputs by name, open dims by input)."""
    import transformers as t
    torch.manual_seed(3)
    b, s = "batch", "sequence"
    ids = {"input_ids": text((2, 9), 5)}
    if family.task == "module":
        kind = {"mingpt": MinGPT, "keras-attention": KerasAttention, "x-transformers-rotary": RotaryTransformer}
        model = seeded(kind[family.name]())
        return Called(model, ["input_ids"], lambda y: y), ids, {"input_ids": {0: b, 1: s}}
    config = config_of(family)
    config._attn_implementation = attention
    if family.task == "lora":
        model = seeded(t.LlamaForCausalLM(config))
        if family.name.endswith("inputs"):
            g = torch.Generator().manual_seed(6)
            low = {"a": torch.randn(4, 48, generator=g) / 7, "b": torch.randn(48, 4, generator=g) / 7}
            x = {**ids, "attention_mask": torch.ones(2, 9, dtype=torch.int64), **low}
            return CalledWithLora(model), x, {"input_ids": {0: b, 1: s}, "attention_mask": {0: b, 1: s}, "a": {}, "b": {}}
        for layer in model.model.layers:
            layer.self_attn.q_proj = LowRank(layer.self_attn.q_proj)
            layer.self_attn.v_proj = LowRank(layer.self_attn.v_proj)
        x = {**ids, "attention_mask": torch.ones(2, 9, dtype=torch.int64)}
        return Called(model.eval(), list(x), lambda y: y.logits), x, {n: {0: b, 1: s} for n in x}
    mask = torch.ones(2, 9, dtype=torch.int64)
    mask[1, -3:] = 0
    if family.task in ("Text", "Vision"):
        kind = {"deit": "DeiTModel", "clip_text_model": "CLIPTextModel",
                "clip_vision_model": "CLIPVisionModel", "siglip_vision_model": "SiglipVisionModel"}[family.model_type]
        model, pick = getattr(t, kind)(config), lambda y: y.last_hidden_state
    else:
        kind = {"Speech2Seq": "AutoModelForSpeechSeq2Seq"}.get(family.task, "AutoModelFor" + family.task)
        try:
            model = getattr(t, kind).from_config(config, attn_implementation=attention)
        except ValueError:  # it has the one implementation
            model = getattr(t, kind).from_config(config, attn_implementation="eager")
        pick = (lambda y: y.start_logits) if family.task == "QuestionAnswering" else lambda y: y.logits
    model = seeded(model)
    g = torch.Generator().manual_seed(8)
    if family.task in ("ImageClassification", "Vision"):
        x = {"pixel_values": torch.randn(2, 3, *2 * [family.config.get("pixels", 16)], generator=g)}
        dims = {"pixel_values": {0: b}}
    elif family.task == "CTC":
        x, dims = {"input_values": torch.randn(2, 120, generator=g)}, {"input_values": {0: b, 1: "samples"}}
    elif family.task == "Speech2Seq":
        x = {"input_features": torch.randn(2, 12, 24, generator=g), "decoder_input_ids": text((2, 7), 5),
             "decoder_attention_mask": torch.ones(2, 7, dtype=torch.int64)}
        dims = {"input_features": {0: b}, **{n: {0: b, 1: "target"} for n in list(x)[1:]}}
    elif family.task == "Seq2SeqLM":
        x = {**ids, "attention_mask": mask, "decoder_input_ids": text((2, 7), 6)}
        dims = {"input_ids": {0: b, 1: s}, "attention_mask": {0: b, 1: s}, "decoder_input_ids": {0: b, 1: "target"}}
    else:
        x = {**ids, "attention_mask": mask}
        dims = {n: {0: b, 1: s} for n in x}
    return Called(model, list(x), pick), x, dims
