"""A deployment's folder that lost or spoiled something: a sentence names the file, and nothing is made in its place."""

from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from deploy.identity.certificates import Certificates
from deploy.identity.cli import keys
from deploy.identity.keys import CannotChange, Keys
from deploy.render.cli import app as render

NAME = "h07.pv.1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Keys and certificates as a rendering leaves them."""
    Keys(tmp_path / "keys")(NAME)
    Certificates(tmp_path / "tls").server("hub")
    return tmp_path


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (lambda tls: (tls / "ca.pem").unlink(), "ca.pem is missing"),
        (lambda tls: [(tls / name).unlink() for name in ("ca.pem", "ca.key")], "ca.pem is missing"),
        (lambda tls: (tls / "ca.pem").write_text("garbage"), "ca.pem cannot be read as a certificate"),
        (lambda tls: (tls / "ca.pem").write_bytes(b""), "ca.pem cannot be read as a certificate"),
        (lambda tls: (tls / "hub.pem").write_text("garbage"), "hub.pem cannot be read as a certificate"),
        (lambda tls: [(tls / name).unlink() for name in ("ca.key", "hub.pem")], "ca.key cannot be read"),
        (lambda tls: [(tls / "ca.key").write_text("x"), (tls / "hub.pem").unlink()], "ca.key cannot be read"),
    ],
)
def test_a_lost_or_spoiled_authority_is_not_replaced(folder: Path, harm: Callable[[Path], object], named: str) -> None:
    tls = folder / "tls"
    harm(tls)
    before = {path: path.read_bytes() for path in tls.iterdir()}
    with pytest.raises(CannotChange, match=named):
        Certificates(tls).server("hub")
    assert {path: path.read_bytes() for path in tls.iterdir()} == before


def test_an_authority_that_was_given_is_used(tmp_path: Path) -> None:
    given = Certificates(tmp_path / "given")
    own = tmp_path / "own"
    own.mkdir()
    for name in ("ca.pem", "ca.key"):
        (own / name).write_bytes((tmp_path / "given" / name).read_bytes())
    Certificates(own).server("hub")
    assert (own / "ca.pem").read_bytes() == given.authority.read_bytes()


@pytest.mark.parametrize("harm", [b"garbage", b"", b"\xff\xfe"])
def test_a_spoiled_seed_is_named_and_kept(folder: Path, harm: bytes) -> None:
    path = folder / "keys" / f"{NAME}.nk"
    path.write_bytes(harm)
    with pytest.raises(CannotChange, match=f"{NAME}.nk cannot be read as a seed"):
        Keys(folder / "keys")(NAME)
    assert path.read_bytes() == harm


def test_a_folder_that_cannot_be_is_a_sentence_and_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    alone = typer.Typer()
    alone.command()(keys)
    for app, command in ((render, ["compose", "pair", "--folder"]), (alone, ["pair", "--out"])):
        told = CliRunner().invoke(app, [*command, str(tmp_path / "file" / "out")])
        assert told.exit_code == 1
        assert isinstance(told.exception, SystemExit)
        assert "cannot be written" in told.output
