// Attributes in the textual form: 1, 0.5, "a text", [1, 0], [words], a contract's loops as text, and extents as they
// are written in types. What the op says holds extents or loops is read as such: [2, 3] may be dims or integers.
#pragma once
#include "frontend/ir/builder.h"
#include "frontend/ir/text_cursor.h"

namespace optp {
std::string attribute_text(const Attribute& attribute);
Attributes read_attributes(TextCursor& in, const OpDef& op);  // behind the opening brace
}  // namespace optp
