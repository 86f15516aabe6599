"""The text of a configuration file: variables put in as the specification's table has it, and what is no such text."""

from __future__ import annotations

import pytest

from procq.telemetry.document import MAX_NODES, Items, Node, Scalar, Table, Unreadable, parse, substituted

ENVIRON = {
    "STRING_VALUE": "value",
    "BOOL_VALUE": "true",
    "INT_VALUE": "1",
    "FLOAT_VALUE": "1.1",
    "HEX_VALUE": "0xdeadbeef",
    "INVALID_MAP_VALUE": "value\nkey:value",
    "DO_NOT_REPLACE_ME": "Never use this value",
    "REPLACE_ME": "${DO_NOT_REPLACE_ME}",
    "VALUE_WITH_ESCAPE": "value$$",
    "EMPTY": "",
}


def below(node: Node, name: str) -> Node:
    assert isinstance(node, Table)
    return node.entries[name]


def value(text: str) -> object:
    found = below(parse(f"key: {text}\n", ENVIRON), "key")
    assert isinstance(found, Scalar)
    return found.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${STRING_VALUE}", "value"),
        ("${BOOL_VALUE}", True),
        ("${INT_VALUE}", 1),
        ("${FLOAT_VALUE}", 1.1),
        ("${HEX_VALUE}", 3735928559),
        ('"${STRING_VALUE}"', "value"),
        ('"${BOOL_VALUE}"', "true"),
        ('"${INT_VALUE}"', "1"),
        ('"${FLOAT_VALUE}"', "1.1"),
        ('"${HEX_VALUE}"', "0xdeadbeef"),
        ("${env:STRING_VALUE}", "value"),
        ("${INVALID_MAP_VALUE}", "value\nkey:value"),
        ("foo ${STRING_VALUE} ${FLOAT_VALUE}", "foo value 1.1"),
        ("${UNDEFINED_KEY}", None),
        ("${UNDEFINED_KEY:-fallback}", "fallback"),
        ("${EMPTY:-fallback}", "fallback"),
        ("${UNDEFINED_KEY:-}", None),
        ("${UNDEFINED_KEY:-7}", 7),
        ("${REPLACE_ME}", "${DO_NOT_REPLACE_ME}"),
        ("${UNDEFINED_KEY:-${STRING_VALUE}}", "${STRING_VALUE}"),
        ("$${STRING_VALUE}", "${STRING_VALUE}"),
        ("$$${STRING_VALUE}", "$value"),
        ("$$$${STRING_VALUE}", "$${STRING_VALUE}"),
        ("$${STRING_VALUE:-fallback}", "${STRING_VALUE:-fallback}"),
        ("$${STRING_VALUE:-${STRING_VALUE}}", "${STRING_VALUE:-value}"),
        ("${UNDEFINED_KEY:-$${UNDEFINED_KEY}}", "${UNDEFINED_KEY:-${UNDEFINED_KEY}}"),
        ("${VALUE_WITH_ESCAPE}", "value$$"),
        ("a $$ b", "a $ b"),
        ("a $ b", "a $ b"),
    ],
)
def test_variables_are_put_in_as_the_specification_has_it(text: str, expected: object) -> None:
    found = value(text)
    assert (found, type(found)) == (expected, type(expected))


def test_keys_are_left_as_they_are() -> None:
    assert isinstance(below(parse("${STRING_VALUE}: value\n", ENVIRON), "${STRING_VALUE}"), Scalar)


@pytest.mark.parametrize("text", ["${STRING_VALUE:?error}", "${1API_KEY}", "${API_$KEY}", "${}", "${a b}"])
def test_a_reference_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Unreadable, match=r"line 3: this is no reference"):
        parse(f"a:\n  b:\n    - '{text}'\n", ENVIRON)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("~", None),
        ("null", None),
        ("True", True),
        ("yes", "yes"),
        ("off", "off"),
        ("010", 10),
        ("0o10", 8),
        ("-0", 0),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("2026-01-01", "2026-01-01"),
        ("9" * 5_000, float("inf")),
    ],
)
def test_values_are_what_yaml_1_2_says(text: str, expected: object) -> None:
    found = value(text)
    assert (found, type(found)) == (expected, type(expected))


def test_a_part_can_be_used_again() -> None:
    root = parse(
        "first: &a {endpoint: 'http://a', timeout: 1}\nsecond:\n  <<: *a\n  timeout: 2\nthird: *a\n"
        "fourth:\n  <<: [{timeout: 3}, *a]\n",
        {},
    )
    second, fourth = below(root, "second"), below(root, "fourth")
    for part, timeout in ((second, 2), (fourth, 3)):
        assert isinstance(part, Table)
        assert {name: node.value for name, node in part.entries.items() if isinstance(node, Scalar)} == {
            "endpoint": "http://a",
            "timeout": timeout,
        }
    assert isinstance(below(root, "third"), Table)


def test_places_are_known() -> None:
    root = parse("a:\n- b: 1\n-\n  c:\n    d: 2\n", {})
    items = below(root, "a")
    assert isinstance(items, Items)
    found = below(below(items.items[1], "c"), "d")
    assert (found.line, found.path) == (5, "a[1].c.d")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it is empty"),
        ("# nothing\n", "it is empty"),
        ("a: 1\n  b: 2\n", "line 2: this is not YAML"),
        ("a: [1\n", "line 2: this is not YAML"),
        ("a: *hunter2\n", "line 1: this is not YAML"),
        ("a: 1\nb: 2\na: 3\n", "line 3: `a` stands there twice"),
        ("? [a]\n: 1\n", "line 1: a key is a word"),
        ("a: 1\n---\nb: 2\n", "line 2: this is not YAML"),
        ("a: \0\n", "it is not YAML: it holds characters that no text does"),
        ("a:\n  <<: 1\n", "line 2: `<<` takes keys and values from elsewhere, and these are none"),
        ("[" * 100_000, "line 1: this is not YAML"),
        ("a: &a\n  b: *a\n", "line 1: there is more in this file than any configuration has"),
        ("\n" + "- " * 50 + "a", "line 2: there is more in this file than any configuration has"),
        ("- 1\n" * (MAX_NODES + 1), "line 10000: there is more in this file than any configuration has"),
    ],
)
def test_what_is_no_configuration_is_told(text: str, told: str) -> None:
    with pytest.raises(Unreadable) as caught:
        parse(text, {})
    assert str(caught.value) == told


def test_little_that_stands_for_much_is_refused() -> None:
    lines = ["a0: &a0 [1, 1]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    with pytest.raises(Unreadable, match="more in this file"):
        parse("\n".join(lines), {})


def test_what_is_put_in_is_text_and_no_more() -> None:
    root = parse("a: ${INVALID_MAP_VALUE}\nb: '${STRING_VALUE}'\n", {**ENVIRON, "INVALID_MAP_VALUE": "x\nb: [1]"})
    assert isinstance(root, Table)
    assert list(root.entries) == ["a", "b"]
    assert substituted("$${A}", {"A": "x"}) == "${A}"
