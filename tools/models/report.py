#!/usr/bin/env python3
"""Writes docs/models.md from what try_families.py found:  report.py FOLDER > docs/models.md"""
import json
import re
import sys

import families
import forms


def cell(row):
    if row is None:
        return "not tried"
    if "export" in row:
        return "no export"
    if "broken" in row:
        return "broken export"
    if "partition" in row:
        return "refused"
    bad = [k for k in ("check", "run", "counts", "train", "steps") if k in row]
    return ", ".join(bad or ["holds"]) + (", folded" if "folded" in row else "")


def short(text, most):
    text = re.sub(r"opt-partition: |\S*/\S*\.onnx: |\x1b\[\d+m", "", text)
    return text[:most].replace("|", "/")


def note(row):
    if row is None:
        return ""
    for k, said in (("export", "exporter: "), ("broken", "no engine runs it: "), ("partition", "")):
        if k in row:
            return said + short(row[k], 110)
    said = [f"{k}: {short(str(row[k]), 90)}" for k in ("check", "run", "counts", "train", "steps") if k in row]
    if "folded" in row:
        said.append(f"folded: {short(', '.join(f'`{n}`' for n in row['folded']), 400)}")
    if "buffers" in row:
        said.append(f"buffers, frozen by name for three steps: {', '.join(f'`{n}`' for n in row['buffers'])}")
    return "; ".join(said)


def main(folder):
    with open(folder + "/results.json") as f:
        results = json.load(f)
    out = ["# Model families", "",
           "Written by `tools/models/report.py` from what `tools/models/try_families.py` found; its head says how to "
           "repeat it.", "",
           f"Two layers of each family, exported by PyTorch's legacy exporter (eager attention, opset 17) and by the "
           f"newer one (`dynamo=True`, scaled_dot_product_attention where the model has it, opset 18), cut for three "
           f"devices. *Holds*: `check` holds, the results are PyTorch's within 1e-4 of the largest, the parameters are "
           f"as many as PyTorch trains, and of language models `check --train` holds and three steps of AdamW have "
           f"PyTorch's losses. *Folded*: the exporter computed ahead with parameters, which the file therefore does not "
           f"have; what it computed is trained in their place, so that its steps are not PyTorch's. *Counts*: the parameters are not as many as PyTorch's. *Cut*: the share of the "
           f"matrices' bytes that a device has a part of.", "",
           f"{results['date']}: " + ", ".join(f"{k} {v}" for k, v in results["versions"].items()) + ".", "",
           "| family | legacy | newer | cut | largest matrix that is whole, and why |", "|---|---|---|---|---|"]
    notes = []
    for family in families.FAMILIES:
        rows = [results.get(f"{family.name}/{e}") for e in ("legacy", "dynamo")]
        cuts = [f"{100 * r['cut']:.0f} %" for r in rows if r and "cut" in r]
        whole = next((r["whole"] for r in rows if r and r.get("whole")), None)
        why = f"`{whole[0]}`: {whole[1][:100]}".replace("|", "/") if whole else ""
        out.append(f"| {family.name} | {cell(rows[0])} | {cell(rows[1])} | {', '.join(dict.fromkeys(cuts))} | {why} |")
        for exporter, row in zip(("legacy", "newer"), rows):
            if note(row):
                notes.append(f"- {family.name}, {exporter}: {note(row)}")
    out += ["", "## What did not hold, and what the file does not tell", ""] + notes
    out += ["", "## Optimised and converted", "",
            "Each legacy export in eleven rewritten forms: results are compared with ONNX Runtime's of the same file "
            "(within 1e-4, half precision 2e-2). *By the tool*: it failed, or no engine loads what it wrote. "
            "*Changed*: the tool's own rewriting changed what the model computes.", "",
            "| form | holds | refused or wrong | by the tool | changed |", "|---|---|---|---|---|"]
    for form in forms.FORMS:
        rows = [r for k, r in results.items() if k.endswith("/" + form)]
        tool = sum("form" in r or "broken" in r for r in rows)
        bad = sum(any(k in r for k in ("partition", "check", "run")) for r in rows)
        out.append(f"| {form} | {len(rows) - tool - bad} | {bad} | {tool} | {sum('changed' in r for r in rows)} |")
    print("\n".join(out))


if __name__ == "__main__":
    main(sys.argv[1])
