"""One message to a group: each member once, acknowledged, the late ones too, and the sender can tell who."""

import pytest

from contracts.operator import Done, NotDone, OrderAnswers, OrderGroupMessage, order_answers, order_group_message
from tests.dso.test_orders import CONSOLE, DSO, order
from tests.support.cem_puppet import PUPPET, forget_limits
from tests.support.grid import Words, grid

pytestmark = pytest.mark.anyio
SITES = ("h01", "h02", "h03")


def acknowledged(words: Words) -> list[str]:
    """Sites in the order in which their acknowledgement was heard at the grid side."""
    return [subject.split(".")[4] for subject, _ in words.of("group_acknowledged")]


@pytest.mark.use_case("ops.group-message")
async def test_each_member_has_it_once_and_the_sender_knows_who_answered_however_late() -> None:
    forget_limits()
    names = [f"{site}.cem.main" for site in SITES]
    async with grid(DSO, *names, agents={"cem": PUPPET}, groups=("street",)) as run:
        words = await run.words()
        await run.start(DSO)
        await run.start(names[0])
        await run.start(names[1])
        console = await run.bus(CONSOLE)
        sent = await order(console, order_group_message, OrderGroupMessage(group="street", text="Works on Tuesday."))
        assert isinstance(sent, Done)
        await words.until(lambda w: sorted(acknowledged(w)) == ["h01", "h02"])
        assert len(words.of("group_message")) == 1, "one word, not one per member"

        # The control room ends and forgets nobody; the third member comes only now.
        await run.stop(DSO)
        await run.start(names[2])
        await words.until(lambda w: "h03" in acknowledged(w))
        await run.start(DSO)

        async def members() -> tuple[str, ...]:
            answer = await order(console, order_answers, OrderAnswers(id=sent.id))
            assert isinstance(answer, Done)
            return answer.members

        while len(await members()) < 3:
            await run.clock.sleep(5)
        assert await members() == tuple(sorted(names))
        assert sorted(acknowledged(words)) == ["h01", "h02", "h03"], "each answered once"

        wrong = await order(console, order_group_message, OrderGroupMessage(group="nobody", text="?"))
        assert isinstance(wrong, NotDone)
        assert wrong.reason.code == "unknown_group"
