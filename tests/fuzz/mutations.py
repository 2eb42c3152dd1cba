"""Files that are changed: bytes flipped, cut, repeated, mixed, numbers replaced by such as nobody expects."""

import re

from hypothesis import strategies as st

NUMBER = re.compile(rb"\d+")
STRANGE = b"0 -1 1 7 1e400 nan -0 4294967295 2147483648 100000000 9223372036854775807 99999999999999999999".split()
STRANGE += [b"1_000_000_000", b"", b"\xff", b"3.5", b"[", b'"', b"\n"]
WORDS = [b"\n", b" ", b"<", b">", b"</", b'"', b"#", b";", b",", b"\x00" * 9, b"$EndNodes\n", b"$ElementData\n"]
WORDS += [b"DIMENSIONS 9 9 9\n", b"POINTS 9 float\n", b"CELLS 9 9\n", b"METADATA\n", b"LOOKUP_TABLE default 9\n"]
WORDS += [b"FIELD a 99\n"]
at = st.floats(0, 1, exclude_max=True)
one = st.one_of(
    st.tuples(st.just("number"), at, st.sampled_from(STRANGE)),
    st.tuples(st.just("number"), at, st.integers(-(2**40), 2**40).map(lambda n: str(n).encode())),
    st.tuples(st.just("byte"), at, st.binary(min_size=1, max_size=1)),
    st.tuples(st.just("insert"), at, st.sampled_from(WORDS) | st.binary(max_size=8)),
    st.tuples(st.just("cut"), at, at),
    st.tuples(st.just("end"), at, st.none()),
    st.tuples(st.just("repeat"), at, at),
    st.tuples(st.just("overwrite"), at, st.sampled_from((b"\xff" * 4, b"\x00" * 8, b"\xff" * 8, b"\x7f\xff\xff\xff"))),
)
mutations = st.lists(one, min_size=1, max_size=5)


def mutated(data: bytes, changes) -> bytes:
    """The bytes after one change after the other."""
    for kind, where, what in changes:
        place = int(where * len(data))
        if kind == "number":
            found = list(NUMBER.finditer(data))
            if found:
                match = found[int(where * len(found))]
                data = data[: match.start()] + what + data[match.end() :]
        elif kind == "byte":
            data = data[:place] + what + data[place + 1 :]
        elif kind == "insert":
            data = data[:place] + what + data[place:]
        elif kind == "overwrite":
            data = data[:place] + what + data[place + len(what) :]
        elif kind == "end":
            data = data[:place]
        else:
            stop = place + 1 + int(what * (len(data) - place))
            data = data[:place] + data[stop:] if kind == "cut" else data[:stop] + data[place:]
        data = data[: 2**18]
    return data
