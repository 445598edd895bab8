"""A model as optimisers and converters rewrite it: one function a form, from FOLDER/model.onnx."""
import os
import subprocess
import sys

import onnx


def make(form, folder):
    """(path, "") or (None, why not)."""
    source, path = folder + "/model.onnx", f"{folder}/{form}.onnx"
    if form == "plain":
        return source, ""
    if not os.path.exists(path):
        try:
            FORMS[form](source, path)
        except ImportError as e:
            return None, f"not installed: {e.name}"
        except Exception as e:  # the tool's own limits
            return None, (str(e).strip().splitlines() or [type(e).__name__])[0][:200]
    return path, ""


def onnxslim(source, path):
    import onnxslim as tool
    tool.slim(source, path)


def onnxsim(source, path):
    import onnxsim as tool
    model, holds = tool.simplify(onnx.load(source))
    if not holds:
        raise RuntimeError("its own check fails")
    onnx.save(model, path)


def ort_level(level):
    def apply(source, path):
        import onnxruntime as ort
        options = ort.SessionOptions()
        options.graph_optimization_level = level(ort)
        options.optimized_model_filepath = path
        ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return apply


def ort_transformers(source, path):
    from onnxruntime.transformers import optimizer
    kind = "gpt2" if "gpt" in source else "bert"
    model = optimizer.optimize_model(source, model_type=kind, num_heads=4, hidden_size=48, opt_level=0)
    model.save_model_to_file(path)


def fp16(source, path):
    from onnxconverter_common import float16
    onnx.save(float16.convert_float_to_float16(onnx.load(source), keep_io_types=True), path)


def fp16_ort(source, path):
    from onnxruntime.transformers.float16 import convert_float_to_float16
    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), path)


def auto_mixed(source, path):
    import numpy as np
    from onnxconverter_common import auto_mixed_precision
    folder = os.path.dirname(source) + "/inputs"
    feed = {f[:-4]: np.load(f"{folder}/{f}") for f in os.listdir(folder)}
    onnx.save(auto_mixed_precision.auto_convert_mixed_precision(onnx.load(source), feed, rtol=0.01, atol=0.01,
                                                                keep_io_types=True), path)


def version(source, path):
    from onnx import version_converter
    onnx.save(version_converter.convert_version(onnx.load(source), 21), path)


def onnxscript(source, path):
    from onnxscript import optimizer
    onnx.save(optimizer.optimize(onnx.load(source)), path)


def polygraphy(source, path):
    import polygraphy  # noqa: F401
    subprocess.run([os.path.join(os.path.dirname(sys.executable), "polygraphy"), "surgeon", "sanitize", "--fold-constants", source, "-o", path],
                   check=True, capture_output=True)


FORMS = {
    "onnxslim": onnxslim, "onnxsim": onnxsim,
    "ort-basic": ort_level(lambda ort: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC),
    "ort-extended": ort_level(lambda ort: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED),
    "ort-transformers": ort_transformers, "fp16": fp16, "fp16-ort": fp16_ort, "auto-mixed-16": auto_mixed,
    "opset-21": version, "onnxscript": onnxscript, "polygraphy": polygraphy,
}
