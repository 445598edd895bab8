// Completions of bash, zsh and fish. What a flag takes is completed by its type: paths, or words.
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringRef.h"
#include "tools/cli/interface.h"

namespace optp {
namespace {
std::string replaced(llvm::StringRef text, llvm::StringRef from, llvm::StringRef to) {
  std::string out;
  for (auto rest = text; !rest.empty();) {
    auto [before, after] = rest.split(from);
    out += before;
    if (before.size() < rest.size()) out += to;
    rest = after;
  }
  return out;
}
std::string verbs_of(const Interface& in, llvm::StringRef between) {
  std::string out;
  for (const Verb& v : in.verbs) out += (out.empty() ? "" : between.str()) + v.name;
  return out;
}
// The words of flags, or of their short and long forms.
std::string flag_words(const std::vector<Flag>& flags) {
  std::string out;
  for (const Flag& f : flags)
    if (!f.positional)
      for (const std::string& name : f.names) out += (out.empty() ? "" : " ") + name;
  return out;
}
}  // namespace

std::string bash_completion(const Interface& in) {
  std::string out =
      "# Completion of opt-partition for bash. Written by `opt-partition docs bash`.\n"
      "_opt_partition() {\n"
      "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb= flags= words= paths= k\n"
      "  COMPREPLY=()\n"
      "  [ \"$cur\" = \"=\" ] && cur=\n"
      "  [ \"$prev\" = \"=\" ] && prev=${COMP_WORDS[COMP_CWORD-2]}\n"
      "  for ((k = 1; k < COMP_CWORD; ++k)); do\n"
      "    case ${COMP_WORDS[k]} in\n"
      "      --diagnostics) [ \"${COMP_WORDS[k+1]}\" = \"=\" ] && ((++k)); ((++k)) ;;\n"
      "      -*) ;;\n"
      "      " +
      verbs_of(in, "|") +
      ") verb=${COMP_WORDS[k]}; break ;;\n"
      "      *) verb=" +
      in.verbs[0].name +
      "; break ;;\n"
      "    esac\n"
      "  done\n"
      "  case $verb in\n";
  auto section = [&](const std::string& verb, const std::vector<Flag>& flags) {
    out += "    " + (verb.empty() ? "''" : verb) + ")\n      flags='" + flag_words(flags) + "'\n      case $prev in\n";
    std::string positional = verb.empty() ? verbs_of(in, " ") : "";
    for (const Flag& f : flags) {
      if (f.positional && !f.words.empty()) positional = llvm::join(f.words, " ");
      if (f.positional || f.value.empty()) continue;
      const std::string then = !f.words.empty()    ? "words='" + llvm::join(f.words, " ") + "'"
                               : f.value == "FILE" ? "paths=f"
                               : f.value == "DIR"  ? "paths=d"
                                                   : "return";
      out += "        " + llvm::join(f.names, "|") + ") " + then + " ;;\n";
    }
    out += "        *) words='" + positional + "' paths=f ;;\n      esac ;;\n";
  };
  section("", in.flags);
  for (const Verb& v : in.verbs) section(v.name, v.flags);
  return out +
         "  esac\n"
         "  case $cur in\n"
         "    -*) mapfile -t COMPREPLY < <(compgen -W \"$flags\" -- \"$cur\"); return ;;\n"
         "  esac\n"
         "  mapfile -t COMPREPLY < <([ -n \"$words\" ] && compgen -W \"$words\" -- \"$cur\"; [ -n \"$paths\" ] && "
         "compgen -\"$paths\" -- \"$cur\")\n"
         "  compopt -o filenames 2>/dev/null\n"
         "}\n"
         "complete -F _opt_partition opt-partition\n";
}

std::string zsh_completion(const Interface& in) {
  // In single quotes; brackets and colons end a description.
  auto text = [](llvm::StringRef t) {
    return replaced(replaced(replaced(replaced(replaced(t, "\\", "\\\\"), "'", "'\\''"), "[", "\\["), "]", "\\]"), ":",
                    "\\:");
  };
  auto action = [&](const Flag& f) -> std::string {
    if (!f.words.empty()) return "(" + llvm::join(f.words, " ") + ")";
    return f.value == "FILE" ? "_files" : f.value == "DIR" ? "_files -/" : " ";
  };
  auto arguments = [&](const std::vector<Flag>& flags, const std::string& indent) {
    std::string specs;
    for (const Flag& f : flags) {
      specs += " \\\n" + indent;
      if (f.positional) {
        specs += "'" + std::string(f.required ? ":" : "::") + text(f.names[0]) + ":" + action(f) + "'";
        continue;
      }
      const std::string value = f.value.empty() ? "" : ":" + text(f.words.empty() ? f.value : "word") + ":" + action(f);
      const std::string all = llvm::join(f.names, " ");
      const std::string names = f.names.size() == 1 ? f.names[0] : "'{" + llvm::join(f.names, ",") + "}'";
      // One that may be repeated is not struck off once it is there.
      specs += f.repeats ? "'*" : "'(" + all + ")";
      for (const std::string& part : {names, "[" + text(f.help) + "]", value + "'"}) specs += part;
    }
    return specs;
  };
  std::string out =
      "#compdef opt-partition\n# Completion of opt-partition for zsh. Written by `opt-partition docs zsh`.\n"
      "_opt-partition() {\n"
      "  local context state line curcontext=$curcontext\n"
      "  typeset -A opt_args\n"
      "  local -a verbs=(\n";
  for (const Verb& v : in.verbs)
    out += "    '" + replaced(replaced(replaced(v.name + "\n" + v.help, ":", "\\:"), "'", "'\\''"), "\n", ":") + "'\n";
  out += "  )\n  _arguments -C" + arguments(in.flags, "    ") +
         " \\\n    '1: :->verb' '*:: :->rest'\n"
         "  case $state in\n"
         "    verb) _describe verb verbs; _files -g '*.onnx' ;;\n"
         "    rest)\n"
         "      local verb=$words[1]\n"
         "      curcontext=${curcontext%:*}-$verb:\n"
         "      case $verb in\n";
  for (const Verb& v : in.verbs)
    if (&v != &in.verbs[0]) out += "        " + v.name + ") _arguments" + arguments(v.flags, "          ") + " ;;\n";
  // A model's name stands where the verb would: it is then the verb's argument already.
  std::vector<Flag> rest;
  for (const Flag& f : in.verbs[0].flags)
    if (!f.positional) rest.push_back(f);
  return out + "        " + in.verbs[0].name + ") _arguments" + arguments(in.verbs[0].flags, "          ") +
         " ;;\n        *) _arguments" + arguments(rest, "          ") +
         " ;;\n      esac ;;\n  esac\n}\n_opt-partition \"$@\"\n";
}

std::string fish_completion(const Interface& in) {
  auto quote = [](llvm::StringRef t) { return "'" + replaced(replaced(t, "\\", "\\\\"), "'", "\\'") + "'"; };
  std::string out = "# Completion of opt-partition for fish. Written by `opt-partition docs fish`.\n";
  auto complete = [&](const std::string& when, const Flag& f) {
    out += "complete -c opt-partition -n " + quote(when);
    if (f.positional) {
      if (f.words.empty()) {  // files are what fish gives on its own
        out += " -F\n";
        return;
      }
      out += " -f -a " + quote(llvm::join(f.words, " ")) + "\n";
      return;
    }
    for (const std::string& name : f.names)
      out += llvm::StringRef(name).starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
    if (!f.value.empty())
      out += !f.words.empty()    ? " -x -a " + quote(llvm::join(f.words, " "))
             : f.value == "FILE" ? " -r -F"
             : f.value == "DIR"  ? " -x -a '(__fish_complete_directories)'"
                                 : " -x";
    out += " -d " + quote(f.help) + "\n";
  };
  for (const Flag& f : in.flags) complete("__fish_use_subcommand", f);
  for (const Verb& v : in.verbs)
    out += "complete -c opt-partition -n __fish_use_subcommand -a " + v.name + " -d " + quote(v.help) + "\n";
  std::string others;
  for (const Verb& v : in.verbs)
    if (&v != &in.verbs[0]) others += " " + v.name;
  for (const Verb& v : in.verbs)
    for (const Flag& f : v.flags)
      complete(&v == &in.verbs[0] ? "not __fish_use_subcommand; and not __fish_seen_subcommand_from" + others
                                  : "__fish_seen_subcommand_from " + v.name,
               f);
  return out;
}
}  // namespace optp
