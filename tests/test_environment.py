"""restic's environment: layers, credential groups, and systemd's grammar of environment files."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from restic_monitor.environment import GROUPS, Layer, lost_halves, merge, parse_environment_file

# layers


def values(*layers: Layer) -> dict[str, str]:
    return {name: variable.value for name, variable in merge(layers).items()}


def process(**variables: str) -> Layer:
    return Layer("the environment", variables, inherited=True)


def given_by(origin: str, **variables: str | None) -> Layer:
    return Layer(origin, variables)


@pytest.mark.parametrize(
    "name",
    [
        *("RESTIC_REPOSITORY", "RESTIC_REPOSITORY_FILE", "RESTIC_HOST", "RESTIC_FEATURES", "RESTIC_PROGRESS_FPS"),
        *("RESTIC_FROM_REPOSITORY", "RESTIC_FROM_REPOSITORY_FILE", "RESTIC_FROM_PASSWORD", "RESTIC_FROM_PASSWORD_FILE"),
        *("RESTIC_FROM_PASSWORD_COMMAND", "RESTIC_FROM_KEY_HINT"),
        *("RESTIC_MONITOR_CONFIG", "RESTIC_MONITOR_ENVIRONMENT_FILE", "RESTIC_MONITOR_ANYTHING"),
    ],
)
def test_what_changes_the_data_that_restic_sees_is_not_inherited(name: str) -> None:
    assert values(process(**{name: "x"})) == {}
    assert values(process(), Layer("the environment file /e", {name: "x"}, inherited=True)) == {}


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "HOME", "SSH_AUTH_SOCK", "HTTPS_PROXY", "RCLONE_CONFIG", "RESTIC_PASSWORD", "RESTIC_CACHE_DIR"),
        *("RESTIC_CACERT", "RESTIC_KEY_HINT", "RESTIC_HOSTS", "MY_RESTIC_HOST", "AWS_PROFILE", "TZ"),
    ],
)
def test_everything_else_is_inherited(name: str) -> None:
    assert values(process(**{name: "x"})) == {name: "x"}


def test_what_is_set_for_restic_on_purpose_reaches_it() -> None:
    assert values(process(), given_by("extra_env", RESTIC_FEATURES="x=true")) == {"RESTIC_FEATURES": "x=true"}


def test_later_layers_win_and_null_unsets() -> None:
    layers = (
        process(A="process", B="process", C="process", D="process"),
        given_by("file", B="file", C="file", D="file"),
        given_by("defaults", C="defaults", D=None),
        given_by("repository", C=None, A=None, E=None),
    )
    merged = merge(layers)
    assert {name: (variable.value, variable.origin) for name, variable in merged.items()} == {"B": ("file", "file")}


@pytest.mark.parametrize(
    ("earlier", "later", "left"),
    [
        # an inherited file would beat our password: restic prefers the command, then the file
        ({"RESTIC_PASSWORD_FILE": "f"}, {"RESTIC_PASSWORD": "p"}, {"RESTIC_PASSWORD": "p"}),
        ({"RESTIC_PASSWORD_COMMAND": "c"}, {"RESTIC_PASSWORD_FILE": "f"}, {"RESTIC_PASSWORD_FILE": "f"}),
        ({"RESTIC_PASSWORD": "p", "RESTIC_PASSWORD_FILE": "f"}, {"RESTIC_PASSWORD": "q"}, {"RESTIC_PASSWORD": "q"}),
        ({"RESTIC_PASSWORD": "p"}, {"RESTIC_KEY_HINT": "k"}, {"RESTIC_PASSWORD": "p", "RESTIC_KEY_HINT": "k"}),
        (
            {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"},
            {"AWS_ACCESS_KEY_ID": "b", "AWS_SECRET_ACCESS_KEY": "z"},
            {"AWS_ACCESS_KEY_ID": "b", "AWS_SECRET_ACCESS_KEY": "z"},  # the old session token would spoil the new pair
        ),
        ({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}, {"AWS_PROFILE": "p"}, {"AWS_PROFILE": "p"}),
        (
            {"AWS_PROFILE": "p", "AWS_DEFAULT_REGION": "eu"},
            {"AWS_ACCESS_KEY": "a", "AWS_SECRET_KEY": "s"},
            {"AWS_DEFAULT_REGION": "eu", "AWS_ACCESS_KEY": "a", "AWS_SECRET_KEY": "s"},
        ),
        ({"B2_ACCOUNT_ID": "i", "B2_ACCOUNT_KEY": "k"}, {"B2_ACCOUNT_ID": "j"}, {"B2_ACCOUNT_ID": "j"}),
        (
            {"AZURE_ACCOUNT_NAME": "n", "AZURE_ACCOUNT_KEY": "k"},
            {"AZURE_ACCOUNT_SAS": "s"},
            {"AZURE_ACCOUNT_NAME": "n", "AZURE_ACCOUNT_SAS": "s"},
        ),
        (
            {"GOOGLE_PROJECT_ID": "1", "GOOGLE_APPLICATION_CREDENTIALS": "/key"},
            {"GOOGLE_ACCESS_TOKEN": "t"},
            {"GOOGLE_PROJECT_ID": "1", "GOOGLE_ACCESS_TOKEN": "t"},
        ),
        (
            {"RESTIC_REST_USERNAME": "u", "RESTIC_REST_PASSWORD": "p"},
            {"RESTIC_REST_USERNAME": "v", "RESTIC_REST_PASSWORD": "q"},
            {"RESTIC_REST_USERNAME": "v", "RESTIC_REST_PASSWORD": "q"},
        ),
        (
            {"OS_AUTH_URL": "http://x", "OS_USERNAME": "u", "OS_PASSWORD": "p"},
            {"OS_STORAGE_URL": "s", "OS_AUTH_TOKEN": "t"},
            {"OS_AUTH_URL": "http://x", "OS_STORAGE_URL": "s", "OS_AUTH_TOKEN": "t"},
        ),
        ({"RESTIC_PASSWORD_FILE": "f"}, {"RESTIC_PASSWORD": None}, {"RESTIC_PASSWORD_FILE": "f"}),  # null names nothing
        ({"AWS_ACCESS_KEY_ID": "a"}, {"B2_ACCOUNT_ID": "b"}, {"AWS_ACCESS_KEY_ID": "a", "B2_ACCOUNT_ID": "b"}),
    ],
)
def test_a_later_layer_replaces_a_whole_group_of_credentials(
    earlier: dict[str, str], later: dict[str, str | None], left: dict[str, str]
) -> None:
    assert values(process(**earlier), given_by("later", **later)) == left


def test_a_group_survives_when_nobody_names_it_again() -> None:
    for group in GROUPS:
        variables = dict.fromkeys(group, "x")
        assert values(process(**variables), given_by("later", OTHER="y")) == {**variables, "OTHER": "y"}


def torn(*layers: Layer) -> list[str]:
    return lost_halves(layers, merge(layers))


def test_a_pair_that_is_set_in_two_places_is_told_and_no_value_is_shown() -> None:
    (sentence,) = torn(
        process(AWS_ACCESS_KEY_ID="canary-a", AWS_SECRET_ACCESS_KEY="canary-b"),
        given_by("defaults.extra_env", AWS_SECRET_ACCESS_KEY="canary-c"),
    )
    assert sentence == (
        "AWS_SECRET_ACCESS_KEY comes from defaults.extra_env but AWS_ACCESS_KEY_ID from the environment: "
        "a later place replaces the whole group of credentials; set both in one place"
    )


@pytest.mark.parametrize(
    "layers",
    [
        (process(AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="s"),),
        (process(AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="s"), given_by("x", AWS_PROFILE="p")),
        (process(AWS_ACCESS_KEY_ID="a", AWS_SECRET_KEY="s"),),
        (process(B2_ACCOUNT_ID="a"),),  # the other half is nowhere: restic says so
        (given_by("x", B2_ACCOUNT_ID="a", B2_ACCOUNT_KEY="k"), given_by("y", B2_ACCOUNT_ID="b", B2_ACCOUNT_KEY="l")),
    ],
)
def test_whole_pairs_are_no_reason_to_complain(layers: tuple[Layer, ...]) -> None:
    assert torn(*layers) == []


# systemd's grammar. The rows are those of systemd's src/test/test-env-file.c and test-fileio.c.


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        (
            "a=a\na=b\na=b\na=a\nb=b\\\nc\nd= d\\\ne  \\\nf  \ng=g\\ \nh= ąęół\\ śćńźżμ \ni=i\\",
            {"a": "a", "b": "bc", "d": "de  f", "g": "g ", "h": "ąęół śćńźżμ", "i": "i"},
        ),
        ("a=a\\\n", {"a": "a"}),
        (
            '#SPAMD_ARGS="-d --socketpath=/var/lib/bulwark/spamd \\\n#--nouser-config     \\\nnormal1=line\\\n111\n'
            ";normal=ignored       \\\nnormal2=line222\n",
            {"normal1": "line111", "normal2": "line222"},
        ),
        (
            '# Generated\n\nHWMON_MODULES="coretemp f71882fg"\n\n# For compatibility reasons\n\n'
            "MODULE_0=coretemp\nMODULE_1=f71882fg",
            {"HWMON_MODULES": "coretemp f71882fg", "MODULE_0": "coretemp", "MODULE_1": "f71882fg"},
        ),
        ("a=\nb=", {"a": "", "b": ""}),
        (
            "a=\\ \\n \\t \\x \\y \\' \nb= \\$'                  \n"
            "c= ' \\n\\t\\$\\`\\\\\n'   \nd= \" \\n\\t\\$\\`\\\\\n\"   \n",
            {"a": " n t x y '", "b": "$'", "c": " \\n\\t\\$\\`\\\\\n", "d": " \\n\\t$`\\\n"},
        ),
        ("one=BAR   \n# comment\n # comment \n ; comment \n  two   =   bar    \n", {"one": "BAR", "two": "bar"}),
        ('three = "333\nxxxx"\n', {"three": "333\nxxxx"}),
        ("four = '44\\\"44'\n", {"four": '44\\"44'}),
        ('five = "55\\"55" "FIVE" cinco   \n', {"five": '55"55FIVEcinco'}),
        ("six = seis sechs\\\n sis\n", {"six": "seis sechs sis"}),
        ('seven="sevenval" #nocomment\n', {"seven": "sevenval#nocomment"}),
        ("eight=eightval #nocomment\n", {"eight": "eightval #nocomment"}),
        ("ten=ignored\nten=ignored\nten=\n", {"ten": ""}),
        ("eleven=\\value\n", {"eleven": "value"}),
        ("twelve=\"\\value\"\nthirteen='\\value'", {"twelve": "\\value", "thirteen": "\\value"}),
        # and some of our own
        ("", {}),
        ("\n\n# nothing\n", {}),
        ("A=b\r\nC=d\r\n", {"A": "b", "C": "d"}),
        ("A=$HOME ${HOME} $(id) `id`", {"A": "$HOME ${HOME} $(id) `id`"}),  # nothing is expanded
        ("A=b\"c\"d'e'", {"A": "b\"c\"d'e'"}),  # quotes inside a plain value are characters
        ("A=b=c", {"A": "b=c"}),
        ("A=\xa0b\xa0", {"A": "\xa0b\xa0"}),  # a no-break space is no blank
        ("A=\x0bb\x0c", {"A": "\x0bb\x0c"}),
        ("A=b#c ;d", {"A": "b#c ;d"}),
        ('A="b\\\nc"', {"A": "bc"}),
    ],
)
def test_an_environment_file_is_read_as_systemd_reads_it(text: str, variables: dict[str, str]) -> None:
    assert parse_environment_file(text) == variables


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=b\ncanary line\n", "line 2: no '='; write NAME=value, or # before a comment"),
        ("canary", "line 1: no '='; write NAME=value, or # before a comment"),
        ("\n\nexport A=canary", "line 3: not the name of a variable before '='; leave out 'export'"),
        ("A B=canary", "line 1: not the name of a variable before '='; letters, digits and _ only"),
        ("A-B=canary", "line 1: not the name of a variable before '='; letters, digits and _ only"),
        ("1A=canary", "line 1: not the name of a variable before '='; letters, digits and _ only"),
        ("=canary", "line 1: not the name of a variable before '='; letters, digits and _ only"),
        ("Ä=canary", "line 1: not the name of a variable before '='; letters, digits and _ only"),
        ('A=b\nB="canary\nC=d\n', 'line 2: the quote " has no end'),
        ("A='canary", "line 1: the quote ' has no end"),
        ("A=canary\0", "it holds a NUL character; it must be a text file"),
    ],
)
def test_a_mistake_in_an_environment_file_is_told_by_line_without_its_value(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$") as error:
        parse_environment_file(text)
    assert "canary" not in str(error.value)


VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"))
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True)


def in_double_quotes(value: str) -> str:
    return '"' + re.sub(r'["\\`$]', lambda found: "\\" + found[0], value) + '"'


@given(st.dictionaries(NAMES, VALUES))
@example({"A": "a \\\n b", "B": "'\"`$\\"})
def test_values_in_double_quotes_survive(variables: dict[str, str]) -> None:
    text = "".join(f"{name}={in_double_quotes(value)}\n" for name, value in variables.items())
    assert parse_environment_file(text) == variables


@given(VALUES.filter(lambda value: "'" not in value))
def test_values_in_single_quotes_are_as_they_stand(value: str) -> None:
    assert parse_environment_file(f"A='{value}'") == {"A": value}


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n\\ \t'\""), min_size=1))
def test_plain_values_are_as_they_stand(value: str) -> None:
    assert parse_environment_file(f"A={value}\nB=c") == {"A": value, "B": "c"}


@given(st.text(alphabet="aA=\"'\\\n\r #;$\t\0é"))
def test_any_text_is_read_or_refused_with_a_line(text: str) -> None:
    refusal = ""
    try:
        parse_environment_file(text)
    except ValueError as error:
        refusal = str(error)
    assert re.match(r"$|line \d+: |it holds a NUL", refusal)


def test_half_a_pair_that_was_removed_is_told_as_that() -> None:
    layers = [
        given_by("defaults.extra_env", AWS_ACCESS_KEY_ID="canary-a", AWS_SECRET_ACCESS_KEY="canary-b"),
        Layer("repositories.web.extra_env", {"AWS_ACCESS_KEY_ID": None}),
    ]
    assert lost_halves(layers, merge(layers)) == [
        "AWS_ACCESS_KEY_ID is removed in repositories.web.extra_env but AWS_SECRET_ACCESS_KEY is left; remove both"
    ]
