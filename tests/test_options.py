"""Options of the page: from flags, from the environment, and the messages for invalid ones."""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from demo.options import Settings, check_address, check_mcp, flag_of, read_settings
from lelsd_core.errors import UserError

ROOT = Path(__file__).parents[1]
VALUES = {  # one value of each setting, as a flag, as a variable, and as it is read
    "host": ("0.0.0.0", "0.0.0.0"),
    "port": ("8080", 8080),
    "share": ("", True),
    "auth": ("ada:love:lace", (("ada", "love:lace"),)),
    "generator": ("digiface-64", "digiface-64"),
    "directions": ("mine", "mine"),
    "queue_size": ("8", 8),
    "max_upload_mb": ("5", 5),
    "mcp": ("", True),
    "offline": ("", True),
    "device": ("cpu", "cpu"),
    "root_path": ("/faces", "/faces"),
}


def test_this_file_tests_every_setting():
    assert VALUES.keys() == {part.name for part in fields(Settings)}


def test_every_setting_has_a_default():
    assert read_settings([], {}) == Settings()
    assert Settings().share is False
    assert Settings().host == "127.0.0.1"


@pytest.mark.parametrize("name", VALUES)
def test_a_setting_is_a_flag_and_a_variable_and_the_flag_wins(name):
    text, value = VALUES[name]
    flag = [flag_of(name), *([text] if text else [])]
    assert getattr(read_settings(flag, {}), name) == value
    assert getattr(read_settings([], {f"LELSD_{name.upper()}": text or "true"}), name) == value
    other = {"port": "1", "queue_size": "1", "max_upload_mb": "1", "auth": "x:y"}.get(name, "0")
    assert getattr(read_settings(flag, {f"LELSD_{name.upper()}": other}), name) == value


def test_gradios_and_other_hosts_own_variables_count_and_ours_comes_first():
    theirs = {"GRADIO_SERVER_NAME": "1.2.3.4", "PORT": "8000", "HF_HUB_OFFLINE": "1"}
    settings = read_settings([], theirs)
    assert (settings.host, settings.port, settings.offline) == ("1.2.3.4", 8000, True)
    assert read_settings([], theirs | {"GRADIO_SERVER_PORT": "8001"}).port == 8001
    assert read_settings([], theirs | {"LELSD_PORT": "8002", "GRADIO_SERVER_PORT": "8001"}).port == 8002
    assert read_settings([], {"LELSD_PORT": "", "PORT": " 8000 "}).port == 8000
    assert read_settings([], {"GRADIO_SHARE": "True"}).share is True
    assert read_settings([], {"GRADIO_SHARE": "False"}).share is False
    assert read_settings([], {"GRADIO_MCP_SERVER": "True"}).mcp is True


def test_a_space_needs_no_configuration():
    assert read_settings([], {"SPACE_ID": "me/faces"}).host == "0.0.0.0"
    assert read_settings([], {"SPACE_ID": "me/faces", "GRADIO_SERVER_NAME": "1.2.3.4"}).host == "1.2.3.4"


def test_several_logins_are_read():
    assert read_settings(["--auth", "a:b", "--auth", "c:d"], {}).auth == (("a", "b"), ("c", "d"))
    assert read_settings([], {"LELSD_AUTH": "a:b\nc:d\n"}).auth == (("a", "b"), ("c", "d"))


WRONG = {
    "a queue of words": ([], {"LELSD_QUEUE_SIZE": "many"}, "LELSD_QUEUE_SIZE is 'many'; it should be a whole number."),
    "a port of words": ([], {"PORT": "http"}, "PORT is 'http'; it should be a whole number."),
    "a share of words": ([], {"LELSD_SHARE": "maybe"}, "LELSD_SHARE is 'maybe'; it should be 1 or 0."),
    "a port too high": (["--port", "70000"], {}, "--port is 70000; it can be 1 to 65535."),
    "a port too high, from outside": ([], {"GRADIO_SERVER_PORT": "70000"}, "--port is 70000; it can be 1 to 65535."),
    "nobody may wait": (["--queue-size", "0"], {}, "--queue-size is 0; it can be 1 to 10000."),
    "no upload": (["--max-upload-mb", "-1"], {}, "--max-upload-mb is -1; it can be 1 to 1000."),
    "a link without network": (["--share", "--offline"], {}, "A public link needs the network"),
    "tools behind a login": (["--mcp", "--auth", "a:b"], {}, "cannot be called behind a login"),
}


@pytest.mark.parametrize("case", WRONG)
def test_invalid_values_are_refused(case):
    flags, environment, words = WRONG[case]
    with pytest.raises(UserError) as error:
        read_settings(flags, environment)
    assert words in str(error.value)


@pytest.mark.parametrize("host", ["192.0.2.1", "nobody.invalid", "no..where", "x" * 70])
def test_an_address_of_another_machine_is_refused(host):
    with pytest.raises(UserError, match=r"--host takes an address of this machine"):
        check_address(Settings(host=host))


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_an_address_of_this_machine_is_accepted(host):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    check_address(Settings(host=host))
    check_address(Settings(host=host, port=port))


def test_tools_for_assistants_need_a_package_that_the_message_names(monkeypatch):
    monkeypatch.setitem(sys.modules, "mcp", None)  # as if it were not installed
    check_mcp(Settings())
    with pytest.raises(UserError, match=r'pip install "gradio\[mcp\]"'):
        check_mcp(Settings(mcp=True))


@pytest.mark.parametrize("login", ["hunter2", ":hunter2", "hunter2:"])
def test_an_invalid_login_is_refused_and_never_repeated(login):
    for flags, environment in ((["--auth", login], {}), ([], {"LELSD_AUTH": login})):
        with pytest.raises(UserError, match="USER:PASSWORD") as error:
            read_settings(flags, environment)
        assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("flags", [["--port", "many"], ["--queue-size", "x"], ["--wat"], ["--host"]])
def test_only_unknown_flags_and_non_numbers_exit_with_2(flags, capsys):
    with pytest.raises(SystemExit) as stopped:
        read_settings(flags, {})
    assert stopped.value.code == 2


def test_help_has_examples_and_needs_no_torch_and_no_gradio():
    code = (
        "import runpy, sys\n"
        "sys.argv = ['app.py', '--help']\n"
        "try: runpy.run_path('app.py', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'gradio', 'cv2', 'numpy', 'PIL', 'spaces'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "python app.py --host 0.0.0.0 --port 8080" in done.stdout
    assert all(flag_of(part.name) in done.stdout for part in fields(Settings))
