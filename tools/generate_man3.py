#!/usr/bin/python3
"""Manual pages of libcohort, from its headers: one page per header, and one line per function that leads to it.

A page's NAME is the first line of the header's first comment, its DESCRIPTION the rest of that, and then each declaration
with the comment in front of it. So the headers are the only place where the API is described.

usage: generate_man3.py FOLDER HEADER …"""

import pathlib
import re
import sys

COMMENT = re.compile(r"/\*(.*?)\*/", re.DOTALL)
PIECE = re.compile(r"/\*.*?\*/|[^/]+|/", re.DOTALL)
SEE = {
    "status": "cohort_client",
    "cohort": "cohort_client, cohort_keys, cohort_lock, cohort_session, cohort_elect, cohort_feed, cohort_script, cohort_transaction, cohort_reply, cohort_status",
}


def plain(comment):
    """The text of a comment, without stars."""
    return "\n".join(re.sub(r"^ ?\*( |$)", "", line.strip("\t")).rstrip() for line in comment.strip().split("\n")).strip()


def escape(text):
    text = "".join(one if ord(one) < 128 else f"\\[u{ord(one):04X}]" for one in text.replace("\\", "\\e").replace("-", "\\-"))
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in text.split("\n"))


def text_block(text):
    """Paragraphs; what is indented, or numbered, keeps its lines."""
    out = []
    for paragraph in text.split("\n\n"):
        lines = paragraph.split("\n")
        keep = any(re.match(r"\s{2,}|\d+\. ", line) for line in lines)
        out += [".PP", *([".nf"] if keep else []), escape(paragraph), *([".fi"] if keep else [])]
    return out


def declarations(body):
    """(comment, code) pairs of a header's body: each comment that stands by itself, and the code up to the next."""
    pairs, comment = [], ""
    for chunk in re.split(r"\n\n+", body):
        chunk = chunk.strip("\n")
        if not chunk.strip() or chunk.startswith("#") or 'extern "C"' in chunk or chunk.strip() == "}":
            continue
        match = re.match(r"/\*(.*?)\*/\s*", chunk, re.DOTALL)
        comment = plain(match[1]) if match else ""
        pairs.append((comment, chunk[match.end():] if match else chunk))
    return pairs


def page(header):
    text = header.read_text()
    name = "libcohort" if header.stem == "cohort" else f"cohort_{header.stem}"
    first = COMMENT.search(text)
    head, _, rest = plain(first[1]).partition("\n")
    out = [f'.TH {name} 3 "" "Cohort" "libcohort"', ".SH NAME", f"{name} \\- {escape(head.rstrip('.'))}", ".SH SYNOPSIS",
           ".nf", f"#include <cohort/{header.name}>", ".PP", "cc program.c $(pkg\\-config \\-\\-cflags \\-\\-libs cohort)",
           ".fi"]  # fmt: skip
    if rest.strip():
        out += [".SH DESCRIPTION", *text_block(rest.strip("\n"))]
    functions = []
    if header.stem != "cohort":
        out.append(".SH DECLARATIONS")
        for comment, code in declarations(text[first.end():]):
            section = re.match(r"---- (.*?) ----\n?(.*)", comment, re.DOTALL)
            if section:
                out.append(f".SS {escape(section[1])}")
                comment = section[2].strip()
            code = re.sub(r"COHORT_API ", "", code).strip()
            if code:
                out += [".PP", ".nf", *(f"\\fB{escape(line)}\\fR" for line in code.split("\n")), ".fi"]
            if comment:
                out += text_block(comment)
            functions += re.findall(r"\b(cohort_\w+)\(", code)
    see = SEE.get(header.stem, "cohort_status, cohort_reply, libcohort")
    out += [".SH SEE ALSO", ", ".join(f"\\fB{one.strip()}\\fR(3)" for one in see.split(",")) + ", \\fBcohort\\fR(1)"]
    return name, "\n".join(out) + "\n", sorted(set(functions))


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for header in map(pathlib.Path, sys.argv[2:]):
        name, text, functions = page(header)
        made[name] = text
        for function in functions:
            made.setdefault(function, f".so man3/{name}.3\n")
    for name, text in made.items():
        (folder / f"{name}.3").write_text(text)


if __name__ == "__main__":
    main()
