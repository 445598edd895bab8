// The man page, in roff's man macros (groff_man(7)). It holds no date: the same sources give the same bytes.
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringRef.h"
#include "tools/cli/interface.h"

namespace optp {
namespace {
// A hyphen that is typed must stay one; a line must not begin with what roff takes for a request.
std::string roff(llvm::StringRef text) {
  std::string out;
  for (char c : text) {
    if (out.empty() && (c == '.' || c == '\'')) out += "\\&";
    out += c == '\\' ? "\\e" : c == '-' ? "\\-" : std::string(1, c);
  }
  return out;
}
std::string synopsis(const Flag& f) {
  std::string out;
  for (const std::string& name : f.names) out += (out.empty() ? "" : ", ") + ("\\fB" + roff(name) + "\\fR");
  return out + (f.value.empty() || f.positional ? "" : " \\fI" + roff(f.value) + "\\fR");
}
void add_flags(std::string& out, const std::vector<Flag>& flags) {
  std::string group;
  for (const Flag& f : flags) {
    if (f.group != group && f.group != "Options" && f.group != "Positionals") out += ".PP\n" + roff(f.group) + ":\n";
    group = f.group;
    out += ".TP\n" + synopsis(f) + "\n" + roff(f.help);
    if (f.required) out += " (required)";
    if (!f.otherwise.empty()) out += " (default: " + roff(f.otherwise) + ")";
    out += "\n";
  }
}
}  // namespace

std::string man_page(const Interface& in, const std::string& version) {
  std::string out = ".\\\" Written by `opt-partition docs man`.\n.TH OPT\\-PARTITION 1 \"\" \"opt\\-partition " +
                    version + "\" \"User Commands\"\n";
  out += ".SH NAME\nopt\\-partition \\- " + roff(in.help) +
         "\n.SH SYNOPSIS\n.B opt\\-partition\n\\fIMODEL\\fR.onnx \\fB\\-\\-devices\\fR \\fIN\\fR \\fB\\-o\\fR "
         "\\fIDIR\\fR [\\fIFLAGS\\fR]\n";
  for (const Verb& v : in.verbs) {
    out += ".br\n.B opt\\-partition " + roff(v.name) + "\n";
    for (const Flag& f : v.flags)
      if (f.positional) out += "\\fI" + roff(f.names[0]) + "\\fR ";
    out += "[\\fIFLAGS\\fR]\n";
  }
  out +=
      ".SH DESCRIPTION\nFrom a transformer as a plain ONNX file,\n.B opt\\-partition\nmakes a plan for tensor "
      "parallelism that people can read and, for each device, an ONNX graph with just that device's share of the "
      "weights. "
      "Parts can be run on the CPU, trained, timed, and checked against the whole model.\n.PP\n"
      "The result goes to stdout, everything else to stderr. An output folder appears whole or not at all.\n.SH "
      "OPTIONS\n";
  add_flags(out, in.flags);
  out += ".SH VERBS\n";
  for (const Verb& v : in.verbs) {
    out += ".SS " + roff(v.name) + "\n" + roff(v.help) + "\n";
    add_flags(out, v.flags);
  }
  out += ".SH EXIT STATUS\n";
  // "exit codes: 0 done, the check holds; 1 the check …": one entry a code.
  llvm::SmallVector<llvm::StringRef> codes;
  std::string footer = in.footer;
  std::replace(footer.begin(), footer.end(), '\n', ' ');
  llvm::StringRef(footer).split(':').second.split(codes, ';');
  for (llvm::StringRef code : codes) {
    auto [number, meaning] = code.trim().split(' ');
    out += ".TP\n.B " + number.str() + "\n" + roff(meaning) + "\n";
  }
  out += ".SH EXAMPLES\n.nf\n" + roff("opt-partition build opt-125m -o m.onnx") + "\n" +
         roff("opt-partition m.onnx --devices 2 -o out") + "\n" + roff("opt-partition inspect out") + "\n" +
         roff("opt-partition check m.onnx --devices 2 --dim batch=1 --dim sequence=16") +
         "\n.fi\n.SH SEE ALSO\nREADME.md, errors.md, plan\\-schema.md and collectives.md in the folder of documents\n";
  return out;
}
}  // namespace optp
