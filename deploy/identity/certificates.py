"""TLS for what crosses a site's border: a certificate authority of the topology's own, and what it signs.

NKeys say who an agent or a site is; certificates encrypt the way, say which server answers and which site's leaf calls.
"""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.identity.keys import CannotChange, write_secret

AUTHORITY_VALID = timedelta(days=3650)
VALID = timedelta(days=397)
RENEW_BEFORE = timedelta(days=30)
_EARLY = timedelta(hours=1)  # clocks of field devices are not exact
_AGAIN = "bring it back from where you keep a copy"
_LOCAL = ("127.0.0.1", "localhost")


class Certificates:
    """A folder ``tls``: ``ca.pem`` for everybody, and per name a certificate and its key (mode 0600).

    Each is made when first asked for, kept, and made anew when it has less than a month left. A folder that lost its
    authority, or a file that cannot be read, raises CannotChange.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.authority = folder / "ca.pem"
        if not self.authority.exists():
            if self.names or self.paths("ca")[1].exists():
                # Another authority beside what the lost one signed: nobody in the field would believe it.
                raise CannotChange(
                    f"{self.authority} is missing, and {folder} has what it signed: bring it back from where you keep"
                    f" a copy, or remove {folder} to begin with a new authority"
                )
            self._make_authority()

    def paths(self, name: str) -> tuple[Path, Path]:
        """Certificate and key of a name, whether they exist or not."""
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"

    def server(self, name: str, hosts: tuple[str, ...] = ()) -> tuple[Path, Path]:
        """Certificate and key of a server that is reached on this machine, by its name, or at ``hosts``.

        Servers of a cluster call each other with it, so it is good for both ends.
        """
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return self._issue(name, usages, (*_LOCAL, name, *hosts))

    def client(self, name: str) -> tuple[Path, Path]:
        """Certificate and key of who connects, e.g. ``h07.link``."""
        return self._issue(name, [ExtendedKeyUsageOID.CLIENT_AUTH], (name,))

    @property
    def names(self) -> list[str]:
        """Everybody who has a certificate of the authority."""
        return sorted(path.stem for path in self.folder.glob("*.key") if path.stem != "ca")

    def renew(self, name: str) -> tuple[Path, Path]:
        """A new key and certificate in the place of the old ones, good for the same. Raises CannotChange."""
        certificate, _ = self.paths(name)
        if name not in self.names:
            raise CannotChange(f"{name} has no certificate here: those that have one are {', '.join(self.names)}")
        made = _certificates(certificate)[0]
        usages = list(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        named = list(made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        return self._make(name, usages, named)

    # ---------------------------------------------------------------- changing the authority

    def follow(self) -> None:
        """Make the authority that is to follow. Both are believed until the change is finished; the new one signs.

        raises  CannotChange, while an earlier change is not finished
        """
        if self._retiring.exists():
            raise CannotChange("two authorities are believed already: `gridparley rotate authority --finish` first")
        write_secret(self._retiring, self.authority.read_text(), 0o644)
        self._make_authority()
        self._write(self.authority.read_bytes() + self._retiring.read_bytes())

    def renew_all(self) -> None:
        """Certificates of the old authority are replaced by the new one's."""
        now = _certificates(self.authority)[0]
        for name in self.names:
            if not _signed(_certificates(self.paths(name)[0])[0], now):
                self.renew(name)

    def forget(self) -> None:
        """The old authority is believed no more. Raises CannotChange."""
        if not self._retiring.exists():
            raise CannotChange("the authority is not being changed: begin with `gridparley rotate authority`")
        first = _certificates(self.authority)[0]
        self._write(first.public_bytes(serialization.Encoding.PEM))
        self._retiring.unlink()

    @property
    def _retiring(self) -> Path:
        return self.folder / "ca.old.pem"

    def _write(self, bundle: bytes) -> None:
        """Whoever reads meanwhile finds the one or the other, never half of it."""
        write_secret(self.authority, bundle.decode(), 0o644)

    def _issue(self, name: str, usages: list[x509.ObjectIdentifier], hosts: tuple[str, ...]) -> tuple[Path, Path]:
        certificate, key = self.paths(name)
        believed = _certificates(self.authority)
        if certificate.exists() and key.exists() and _serves(certificate, usages, hosts, believed):
            return certificate, key
        return self._make(name, usages, [_host(host) for host in dict.fromkeys(hosts)])

    def _make(self, name: str, usages: list[x509.ObjectIdentifier], named: list[x509.GeneralName]) -> tuple[Path, Path]:
        certificate, key = self.paths(name)
        own = ec.generate_private_key(ec.SECP256R1())
        signer, issuer = _signer(self.paths("ca")[1]), _certificates(self.authority)[0]
        made = (
            _builder(name, VALID)
            .issuer_name(issuer.subject)
            .public_key(own.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(named), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .sign(signer, hashes.SHA256())
        )
        write_secret(key, _pem(own))
        write_secret(certificate, made.public_bytes(serialization.Encoding.PEM).decode(), 0o644)
        return certificate, key

    def _make_authority(self) -> None:
        own = ec.generate_private_key(ec.SECP256R1())
        builder = _builder("gridparley", AUTHORITY_VALID)
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        made = (
            builder.issuer_name(_name("gridparley"))
            .public_key(own.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
            .sign(own, hashes.SHA256())
        )
        write_secret(self.paths("ca")[1], _pem(own))
        self._write(made.public_bytes(serialization.Encoding.PEM))


def _builder(name: str, valid: timedelta) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLY)
        .not_valid_after(now + valid)
    )


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _serves(
    path: Path, usages: list[x509.ObjectIdentifier], hosts: tuple[str, ...], believed: list[x509.Certificate]
) -> bool:
    """Whether it lasts, is believed, and is good for all that is asked of it now."""
    made = _certificates(path)[0]
    named = set(made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    good_for = set(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    return (
        made.not_valid_after_utc > datetime.now(UTC) + RENEW_BEFORE
        and named >= {_host(host) for host in hosts}
        and good_for >= set(usages)
        and any(_signed(made, authority) for authority in believed)
    )


def _certificates(path: Path) -> list[x509.Certificate]:
    """The first is who signs now. Raises CannotChange."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as problem:
        raise CannotChange(f"{path} cannot be read as a certificate ({problem}): {_AGAIN}") from None


def _signer(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as problem:
        raise CannotChange(f"{path} cannot be read as the authority's key ({problem}): {_AGAIN}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CannotChange(f"{path} is no key on an elliptic curve, which the authority here must have: {_AGAIN}")
    return key


def _signed(made: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        made.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
