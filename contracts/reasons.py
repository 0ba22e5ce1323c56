"""Why: every decision that moves power and every refusal carries one."""

import msgspec


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """A reason for people and for machines.

    ``code`` is stable and lower case (``above_contract``); ``text`` is one sentence that names cause and remedy;
    ``binding`` names the constraint that decided; ``inputs`` are the figures that went in, each with its unit in the
    key's suffix; ``talk`` is the conversation that caused it, if one did.
    """

    code: str
    text: str
    binding: str | None = None
    inputs: dict[str, float] = msgspec.field(default_factory=dict)
    talk: str | None = None
