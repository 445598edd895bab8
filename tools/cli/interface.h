// The command line as data, read from CLI11's own description: what help, man page and completions have in common.
#pragma once
#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace optp {

// A value's type name says how it is completed: FILE and DIR are paths, "a|b" is one of these words, others are free.
struct Flag {
  std::vector<std::string> names;      // with their dashes, long ones first; of a positional its name without
  std::string value;                   // FILE, DIR, TEXT, a|b …; empty: takes none
  std::vector<std::string> words;      // of "a|b"
  std::string help, group, otherwise;  // otherwise: the default
  bool positional = false, required = false, repeats = false;
};
struct Verb {
  std::string name, help;
  std::vector<Flag> flags;
};
struct Interface {
  std::string name, help, footer;
  std::vector<Flag> flags;  // of the program itself
  std::vector<Verb> verbs;  // the first is the one meant where none is given
};
Interface interface_of(const CLI::App& app);

std::string man_page(const Interface& interface, const std::string& version);
std::string bash_completion(const Interface& interface);
std::string zsh_completion(const Interface& interface);
std::string fish_completion(const Interface& interface);

}  // namespace optp
