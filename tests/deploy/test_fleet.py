"""The issuer of a fleet: what it makes is what it says, and it makes nothing that would let somebody be another."""

import base64
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from bus.address import Address
from bus.nkeys import BadKey, BadSeed, KeyPair, verify
from bus.user_jwt import BadJwt, Credential, UserJwt
from deploy.fleet.config import equip
from deploy.fleet.fleet import LONGEST, Fleet, FleetError, link_template
from deploy.identity.keys import Keys, write_secret
from deploy.permissions import Permissions, Rights
from deploy.roster import Roster
from tests.support.grid import topology

EVERYBODY = ("grid.dso.north", "h07.cem.main", "h07.meter.main", "h08.cem.main", "h08.evse.1")
HOUR = timedelta(hours=1)


class Clock:
    def __init__(self) -> None:
        self.at = 1_800_000_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def permissions() -> Permissions:
    return Permissions(topology(EVERYBODY, groups=("street",)), Roster())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fleet(tmp_path: Path, permissions: Permissions, clock: Clock) -> Fleet:
    return Fleet.found(tmp_path / "fleet", permissions, clock)


def claims(text: str) -> dict[str, object]:
    _, body, _ = text.split(".")
    found: dict[str, object] = msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return found


def public() -> str:
    return KeyPair.new().public


# -------------------------------------------------------------------- keys


@pytest.mark.parametrize(("kind", "first"), [("user", "U"), ("account", "A"), ("operator", "O")])
def test_a_key_says_what_it_is_for_and_is_taken_for_nothing_else(kind: str, first: str) -> None:
    pair = KeyPair.new(kind)  # type: ignore[arg-type]
    assert (pair.public[0], pair.seed[:2]) == (first, f"S{first}")
    assert KeyPair.from_seed(pair.seed, kind).public == pair.public  # type: ignore[arg-type]
    assert verify(pair.public, kind, pair.signature(b"word"), b"word")  # type: ignore[arg-type]
    assert not verify(pair.public, kind, pair.signature(b"word"), b"another")  # type: ignore[arg-type]
    for other in {"user", "account", "operator"} - {kind}:
        with pytest.raises(BadSeed):
            KeyPair.from_seed(pair.seed, other)  # type: ignore[arg-type]
        with pytest.raises(BadKey):
            verify(pair.public, other, b"", b"")  # type: ignore[arg-type]


def test_a_seed_given_for_a_public_key_is_refused_and_not_repeated(fleet: Fleet) -> None:
    seed = KeyPair.new().seed
    with pytest.raises(BadKey) as problem:
        fleet.site("h07", seed)
    assert seed not in str(problem.value)


# -------------------------------------------------------------------- names


@pytest.mark.parametrize("name", ["*", ">", "h07.cem", "h*", "", "H07", "h 07", "h07\n", "{{name()}}", "h07.>", "ü"])
def test_a_name_that_is_more_than_a_name_gets_no_jwt(fleet: Fleet, name: str) -> None:
    with pytest.raises(FleetError, match="cannot be a site's name"):
        fleet.site(name, public())
    with pytest.raises(FleetError, match="cannot be a site's name"):
        list(fleet.sites([("h01", public()), (name, public())]))
    with pytest.raises(FleetError, match="cannot be a group's name"):
        fleet.site("h07", public(), groups=[name])


@pytest.mark.parametrize("name", ["grid", "hub"])
def test_no_site_is_called_like_the_grid_side(fleet: Fleet, name: str) -> None:
    with pytest.raises(FleetError, match="would speak as the grid side"):
        fleet.site(name, public())


def test_an_agent_of_a_home_gets_no_jwt_for_the_hub(fleet: Fleet, permissions: Permissions) -> None:
    with pytest.raises(FleetError, match="its own site's server"):
        fleet.agent(Address.parse("h07.cem.main"), public(), permissions)
    with pytest.raises(FleetError, match="not in the topology"):
        fleet.agent(Address.parse("grid.dso.south"), public(), permissions)


def test_one_key_has_one_name(fleet: Fleet) -> None:
    key = public()
    fleet.site("h07", key)
    with pytest.raises(FleetError, match="belongs to h07"):
        fleet.site("h08", key)


def test_another_key_for_a_name_must_be_said_to_replace_the_one_before(fleet: Fleet) -> None:
    first, second, third = public(), public(), public()
    fleet.site("h07", first)
    with pytest.raises(FleetError, match="holds another key"):
        fleet.site("h07", second)
    fleet.site("h07", second, old_key="expires")
    assert fleet.running_out(LONGEST)[0].name == "h07"
    fleet.site("h07", third, old_key="revoked")
    assert {row.public for row in fleet.running_out(LONGEST)} == {third}
    with pytest.raises(FleetError, match="revoked"):
        fleet.site("h07", first)


# -------------------------------------------------------------------- what a JWT says


def test_a_sites_jwt_says_its_name_and_carries_no_rights(fleet: Fleet, clock: Clock) -> None:
    key = public()
    token = UserJwt.read(fleet.site("h07", key, groups=["street"], valid=HOUR))
    assert (token.name, token.public) == ("h07", key)
    assert token.expires is not None
    assert 3600 * 0.9 <= token.expires - int(clock.at) <= 3600
    nats = claims(token.text)["nats"]
    assert nats == {"type": "user", "version": 2, "issuer_account": fleet.charter.account, "tags": ["group:street"]}


def test_jwts_of_homes_that_were_enrolled_together_do_not_all_end_together(fleet: Fleet) -> None:
    ends = [UserJwt.read(token).expires for _, token in fleet.sites((f"s{n}", public()) for n in range(50))]
    assert len(set(ends)) > 40


def test_an_agents_jwt_says_the_rights_that_its_role_declares(fleet: Fleet, permissions: Permissions) -> None:
    address = Address.parse("grid.dso.north")
    nats = claims(fleet.agent(address, public(), permissions))["nats"]
    assert isinstance(nats, dict)
    rights = permissions.of(address)
    assert nats["pub"] == {"allow": list(rights.publish)}
    assert nats["sub"] == {"allow": list(rights.subscribe)}
    assert nats["allowed_connection_types"] == ["STANDARD"]


def test_the_template_filled_with_a_sites_name_gives_each_site_its_rights_and_no_other_sites(
    permissions: Permissions,
) -> None:
    template = link_template(permissions)
    for site, other in (("h07", "h08"), ("h08", "h07")):
        filled = Rights(*(_fill(subjects, site) for subjects in (template.publish, template.subscribe)))
        own = permissions.of_link(site)
        assert set(own.publish) <= set(filled.publish)
        assert set(own.subscribe) <= set(filled.subscribe)
        assert not [s for s in (*filled.publish, *filled.subscribe) if other in s or "{{" in s]


def _fill(subjects: tuple[str, ...], site: str) -> tuple[str, ...]:
    return tuple(s.replace("{{name()}}", site).replace("{{tag(group)}}", "street") for s in subjects)


def test_a_name_with_a_dash_inside_a_home_is_refused_because_consumers_could_be_confused() -> None:
    with pytest.raises(FleetError, match="no role or name at a site has a '-'"):
        link_template(Permissions(topology(("grid.dso.north", "h07.cem.a-cem-main")), Roster()))


def test_a_jwt_lives_hours_or_days(fleet: Fleet) -> None:
    for valid in (timedelta(0), timedelta(seconds=-1), LONGEST + HOUR):
        with pytest.raises(FleetError, match="lives between"):
            fleet.site("h07", public(), valid=valid)


def test_an_altered_jwt_is_none(fleet: Fleet, tmp_path: Path) -> None:
    pair = KeyPair.new()
    head, body, signature = fleet.site("h07", pair.public).split(".")
    other = fleet.site("h08", public()).split(".")[1]
    for text in (f"{head}.{other}.{signature}", f"{head}.{body}", f"{head}.{body}.{signature[:-8]}", "", "a.b.c"):
        with pytest.raises(BadJwt):
            UserJwt.read(text)
    write_secret(tmp_path / "x.nk", KeyPair.new().seed)
    write_secret(tmp_path / "x.jwt", f"{head}.{body}.{signature}")
    with pytest.raises(BadJwt, match="another key"):
        Credential(tmp_path / "x.nk").present()


# -------------------------------------------------------------------- taking back


def revocations(fleet: Fleet) -> dict[str, int]:
    nats = claims(fleet.account_jwt)["nats"]
    assert isinstance(nats, dict)
    found: dict[str, int] = nats["revocations"]
    return found


def test_a_revocation_is_in_the_account_until_what_it_takes_back_would_have_ended(fleet: Fleet, clock: Clock) -> None:
    key = public()
    fleet.site("h07", key, valid=HOUR)
    assert fleet.revoke("h07") == [key]
    assert revocations(fleet) == {key: int(clock.at)}
    with pytest.raises(FleetError, match="revoked"):
        fleet.site("h07", key)
    clock.at += 3600 * 0.89
    fleet.sign_account()
    assert key in revocations(fleet)
    clock.at += 3600 * 0.11
    fleet.sign_account()
    assert revocations(fleet) == {}, "the list does not grow for ever"
    with pytest.raises(FleetError, match="revoked"):
        fleet.site("h07", key)
    with pytest.raises(FleetError, match="one that is revoked"):
        fleet.site("h07", public())


def test_a_list_that_no_server_would_take_is_not_made(fleet: Fleet) -> None:
    list(fleet.sites((f"s{n}", public()) for n in range(12_000)))
    before = fleet.account_jwt
    with fleet._ledger() as ledger:
        for row in ledger.running_out(0, 2**40):
            ledger.revoke(row, row.issued)
    with pytest.raises(FleetError, match="let JWTs live shorter"):
        fleet.sign_account()
    assert fleet.account_jwt == before


def test_a_revocation_by_mistake_is_undone(fleet: Fleet) -> None:
    key = public()
    fleet.site("h07", key)
    fleet.revoke("h07")
    fleet.take_back("h07")
    assert revocations(fleet) == {}
    fleet.site("h07", key)
    with pytest.raises(FleetError, match="is not revoked"):
        fleet.take_back("h07")


def test_nobody_unknown_is_revoked_by_a_slip_of_the_pen(fleet: Fleet) -> None:
    with pytest.raises(FleetError, match="nothing was issued"):
        fleet.revoke("h70")


def test_each_account_jwt_is_issued_later_than_the_one_before(fleet: Fleet) -> None:
    """Servers of a cluster keep the newer one: two of the same second would be one by chance."""
    seen = [UserJwt.issued_at(fleet.sign_account()) for _ in range(5)]
    assert seen == sorted(set(seen))


# -------------------------------------------------------------------- who needs which key


def test_the_operators_and_the_accounts_own_keys_are_needed_for_nothing_that_happens_daily(
    fleet: Fleet, permissions: Permissions
) -> None:
    for name in ("operator", "account"):
        (fleet.folder / f"{name}.nk").unlink()
    fleet.site("h07", public())
    fleet.agent(Address.parse("grid.dso.north"), public(), permissions)
    fleet.revoke("h07")
    fleet.rotate("sites")
    fleet.finish("sites")


def test_who_makes_sites_needs_their_key_alone_and_cannot_do_more(fleet: Fleet, permissions: Permissions) -> None:
    for name in ("operator", "operator-signing", "account", "system", "agents"):
        (fleet.folder / f"{name}.nk").unlink()
    fleet.site("h07", public())
    with pytest.raises(FleetError, match=r"agents\.nk"):
        fleet.agent(Address.parse("grid.dso.north"), public(), permissions)
    with pytest.raises(FleetError, match=r"system\.nk"):
        fleet.system(public())
    with pytest.raises(FleetError, match=r"operator-signing\.nk"):
        fleet.revoke("h07")


def test_a_signing_key_is_rotated_with_both_good_in_between(fleet: Fleet) -> None:
    def known() -> list[str]:
        nats = claims(fleet.account_jwt)["nats"]
        assert isinstance(nats, dict)
        return [key["key"] for key in nats["signing_keys"] if isinstance(key, dict)]

    key = public()
    [first] = known()
    fleet.rotate("sites")
    second, old = known()
    assert old == first
    assert claims(fleet.site("h07", key))["iss"] == second
    with pytest.raises(FleetError, match="not retired yet"):
        fleet.rotate("sites")
    fleet.finish("sites")
    assert known() == [second]
    with pytest.raises(FleetError, match="not being rotated"):
        fleet.finish("sites")


# -------------------------------------------------------------------- files


def test_seeds_and_credentials_are_for_their_owner_alone(
    fleet: Fleet, permissions: Permissions, tmp_path: Path
) -> None:
    made = equip(fleet, permissions, Keys(tmp_path / "keys"))
    names = {path.name for path in made}
    assert {"grid.dso.north.jwt", "hub.admin.jwt", "hub.sys.jwt", "h07.link.creds", "h08.link.creds"} <= names
    assert not [name for name in names if name.startswith("h07.cem")]
    for path in (*made, *fleet.folder.glob("*.nk"), fleet.folder / "ledger.db"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_fleet_is_not_made_anew_over_an_old_one(fleet: Fleet, permissions: Permissions, tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="already holds a fleet"):
        Fleet.found(fleet.folder, permissions)
    with pytest.raises(FleetError, match="holds no fleet"):
        Fleet(tmp_path / "nothing")


def test_those_that_run_out_are_found_and_equipped_again(
    fleet: Fleet, permissions: Permissions, clock: Clock, tmp_path: Path
) -> None:
    keys = Keys(tmp_path / "keys")
    equip(fleet, permissions, keys)
    clock.at += 18 * 3600
    due = {row.name for row in fleet.running_out(timedelta(hours=6))}
    assert due == {"h07", "h08"}
    made = equip(fleet, permissions, keys, due)
    assert {path.name for path in made} == {"h07.link.creds", "h08.link.creds"}
    assert fleet.running_out(timedelta(hours=6)) == []
