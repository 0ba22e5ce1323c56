"""Any lawful word, made from its type: for tests that say everything that may be said."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import inspect

START = datetime(2016, 5, 20, 10, 0, tzinfo=UTC)


def sample(kind: type[msgspec.Struct], seed: int = 0) -> Any:
    """An instance of ``kind`` that passes its own limits; the same for the same seed."""
    raw = msgspec.json.encode(_value(inspect.type_info(kind), random.Random(f"{kind.__name__}{seed}")))
    return msgspec.json.decode(raw, type=kind)


def _value(info: inspect.Type, dice: random.Random) -> Any:
    match info:
        case inspect.Metadata(type=inner):
            return _value(inner, dice)
        case inspect.StructType(fields=fields, tag=tag, tag_field=tag_field):
            raw = {f.encode_name: _value(f.type, dice) for f in fields if f.required or dice.random() < 0.5}
            return raw if tag_field is None else {tag_field: tag, **raw}
        case inspect.UnionType(types=types):
            return _value(dice.choice(types), dice)
        case inspect.NoneType():
            return None
        case inspect.BoolType():
            return dice.random() < 0.5
        case inspect.IntType(ge=low, gt=above, le=high):
            least = low if low is not None else (above + 1 if above is not None else 0)
            return dice.randint(least, high if high is not None else least + 100)
        case inspect.FloatType(ge=bottom, gt=beyond, le=top):
            lowest = bottom if bottom is not None else (beyond + 1.0 if beyond is not None else -1000.0)
            return round(dice.uniform(lowest, min(top if top is not None else lowest + 5000.0, lowest + 5000.0)), 3)
        case inspect.StrType(min_length=shortest, pattern=pattern):
            if pattern is not None:
                raise NotImplementedError(pattern)
            return "".join(dice.choice("abcxyz-09 äß") for _ in range(max(shortest or 0, dice.randint(1, 12))))
        case inspect.DateTimeType():
            return START + timedelta(seconds=dice.randint(0, 86_400))
        case inspect.DateType():
            return (START + timedelta(days=dice.randint(0, 365))).date()
        case inspect.TimeType():
            return (START + timedelta(seconds=dice.randint(0, 86_399))).time()
        case inspect.LiteralType(values=values) | inspect.EnumType(cls=values):
            return dice.choice(list(values))
        case inspect.TupleType(item_types=types):
            return [_value(t, dice) for t in types]
        case (
            inspect.VarTupleType(item_type=t, min_length=shortest) | inspect.ListType(item_type=t, min_length=shortest)
        ):
            return [_value(t, dice) for _ in range(max(shortest or 0, dice.randint(0, 3)))]
        case inspect.DictType(key_type=k, value_type=v):
            return {_value(k, dice): _value(v, dice) for _ in range(dice.randint(0, 2))}
        case inspect.AnyType():
            return None
    raise NotImplementedError(info)
