"""``gridparley fleet`` as its help says it is used."""

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bus.nkeys import KeyPair
from bus.user_jwt import UserJwt
from deploy.fleet.cli import app
from deploy.identity.keys import CannotChange
from deploy.identity.rotation import Rotation
from deploy.nats.servers import Servers, nats_server
from deploy.topology import HUB, load

runner = CliRunner()


def run(*words: str, code: int = 0) -> str:
    result = runner.invoke(app, list(words))
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.output


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    run("init", "evening")
    return tmp_path


def test_a_home_makes_its_key_the_issuer_a_jwt_and_the_home_its_credentials(fleet: Path) -> None:
    public = run("key", "h07", "--keys", "home").strip()
    Path("h07.jwt").write_text(run("site", "h07", "--public", public, "--group", "street", "--valid", "2h"))
    written = Path(run("creds", "h07", "h07.jwt", "--keys", "home").strip())
    assert written.stat().st_mode & 0o077 == 0
    text = written.read_text()
    seed = KeyPair.from_file(Path("home/h07.link.nk")).seed
    assert seed in text
    assert UserJwt.read(Path("h07.jwt").read_text()).text in text
    assert public in run("list", "--within", "3h")
    assert public not in run("list", "--within", "1h")


def test_what_an_issuer_must_not_do_ends_with_2_and_says_why(fleet: Path) -> None:
    public = KeyPair.new().public
    assert "would speak as every site" in run("site", "*", "--public", public, code=2)
    assert "seed was given" in run("site", "h07", "--public", KeyPair.new().seed, code=2)
    assert "write 90m" in run("site", "h07", "--public", public, "--valid", "long", code=2)
    assert "nothing was issued" in run("revoke", "h07", code=2)
    assert "already holds a fleet" in run("init", "evening", code=2)
    assert "holds no fleet" in run("list", "--folder", "elsewhere", code=2)
    Path("x.jwt").write_text(run("site", "h07", "--public", public))
    run("key", "h07", "--keys", "home")
    assert "is of another key" in run("creds", "h07", "x.jwt", "--keys", "home", code=2)


def test_revoked_shown_undone_and_replaced(fleet: Path) -> None:
    first, second = KeyPair.new().public, KeyPair.new().public
    run("site", "h07", "--public", first)
    assert first in run("revoke", "h07")
    assert "revoked" in run("list")
    assert "is revoked" in run("site", "h07", "--public", first, code=2)
    assert "--replace" in run("site", "h07", "--public", second, code=2)
    run("site", "h07", "--public", second, "--replace", "now")
    run("revoke", "h07", "--undo")
    run("rotate", "sites")
    run("rotate", "sites", "--finish")
    assert "not being rotated" in run("rotate", "sites", "--finish", code=2)


def test_a_deployment_becomes_a_fleets_and_its_hub_takes_a_push(fleet: Path) -> None:
    """The files of ``gridparley config``, made a fleet's; the hub's are run."""
    folder = fleet / "nats"
    servers = Servers(load("evening"), folder)
    servers.configure()
    run("config", "evening", "nats")
    for file in (f"{HUB}.conf", "h07.conf"):
        assert "link.creds" in (folder / file).read_text() or "operator:" in (folder / file).read_text()
    port = servers.ports[HUB].client

    async def told() -> None:
        process = await asyncio.create_subprocess_exec(
            str(nats_server()), "-c", str(folder / f"{HUB}.conf"), "-l", str(folder / "hub.log")
        )
        try:
            for words in (("revoke", "h07", "--push", f"tls://127.0.0.1:{port}"),
                          ("push", "--url", f"tls://127.0.0.1:{port}")):  # fmt: skip
                assert "has taken the account" in await asyncio.to_thread(run, *words)
        finally:
            process.terminate()
            await process.wait()

    asyncio.run(told())
    assert "this needs the key" not in run("renew", "evening", "--within", "30d")


def test_inside_the_homes_of_a_fleet_keys_are_changed_as_everywhere_and_the_hub_is_left_alone(fleet: Path) -> None:
    folder = fleet / "nats"
    made = Servers(load("evening"), folder)
    made.configure()
    run("config", "evening", "nats")
    hub = (folder / "hub.conf").read_text()
    rotation = Rotation(folder, made.permissions)

    async def change() -> None:
        for name in ("grid.dso.north", "h07.link"):
            with pytest.raises(CannotChange, match="gridparley fleet"):
                await rotation.revoke(name)
        before = rotation.keys("h07.cem.main").public
        late = await rotation.revoke("h07.cem.main")
        assert late is not None, "nobody runs here"
        assert before not in (folder / "h07.conf").read_text()

    asyncio.run(change())
    assert (folder / "hub.conf").read_text() == hub
    assert "link.creds" in (folder / "h07.conf").read_text()
