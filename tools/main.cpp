#include "frontend/onnx/import.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/Support/raw_ostream.h"
int main(int argc, char** argv) { auto g = optp::import_onnx(argv[1]); if (!g) { llvm::errs() << llvm::toString(g.takeError()) << "\n"; return 65; } 
 if (argc>2) optp::print(llvm::outs(), **g); llvm::outs() << (*g)->size() << " nodes "; for (auto& o : (*g)->outputs) llvm::outs() << o.name << ": " << optp::to_string(o.value->type) << " "; llvm::outs()<<"\n"; }
