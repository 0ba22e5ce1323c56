"""`gridparley devices`: what hardware is known, whether a description is sound, what a device says."""

import asyncio
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from agents.drivers.device import Device
from agents.drivers.errors import DriverError, NotThisProductError
from contracts.device_file import DeviceFile, DeviceFileError, all_files, directory, faults, line_of, load
from deploy.options import finite

app = typer.Typer(help="Hardware: known products, checks of their files, and reading a real or simulated device.")
_out = Console(highlight=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, soft_wrap=True)


class _SystemClock:
    """Real time: a device on the bench has no run."""

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@app.command("list")
def list_products() -> None:
    """Prints every product with class, grade and source."""
    products, unsound = [], []
    for path in all_files():
        try:
            products.append(load(path))
        except DeviceFileError as error:
            unsound.append(str(error))
    if not products and not unsound:
        _err.print(f"There is no device file in {directory()}. GRIDPARLEY_DEVICES names another directory.")
        raise typer.Exit(1)
    width = max((len(device.key) for device in products), default=0)
    for device in products:
        source = next(iter(device.documents.values()))
        _out.print(f"{device.key:{width}}  {device.class_:8}  {device.grade:6}  {device.device}", markup=False)
        _out.print(f"{'':{width}}  source: {source.title}, {source.edition}", markup=False, style="dim")
    for cause in unsound:
        _err.print(cause, markup=False)
    if unsound:
        raise typer.Exit(1)


@app.command()
def check(
    file: Annotated[str, typer.Argument(help="A device file, or the name of one in the devices directory.")],
) -> None:
    """Prints what is wrong with a device file, with line and point, or ok."""
    device, path, text = _load(file)
    found = faults(device)
    for fault in found:
        place = fault.partition(":")[0]
        line = line_of(text, place)
        _err.print(f"{path}:{line}: {fault}" if line else f"{path}: {fault}", markup=False)
    if found:
        raise typer.Exit(1)
    form = device.sunspec
    points = len(form.points) if form else len(device.points)
    _out.print(
        f"{path}: ok, {device.device}, {points} points, {len(device.proof)} proof frames, {device.grade}", markup=False
    )


@app.command()
def read(
    host: Annotated[str, typer.Option(help="Address of the device or its gateway.")],
    port: Annotated[int | None, typer.Option(help="TCP port; the product's own without it.")] = None,
    unit: Annotated[int | None, typer.Option(help="Modbus unit; the product's own without it.")] = None,
    device: Annotated[
        str | None, typer.Option(help="Device file; without it the device is scanned for SunSpec.")
    ] = None,
    timeout_s: Annotated[
        float | None, typer.Option("--timeout", callback=finite, help="Seconds to wait for each answer.")
    ] = None,
) -> None:
    """Reads all points of a device once and prints them."""
    forms = [_load(device)[0]] if device else [form for path in all_files() if (form := load(path)).sunspec]
    try:
        asyncio.run(_read(forms, host, port, unit, timeout_s, guess=device is None))
    except DriverError as error:
        _err.print(str(error), markup=False)
        raise typer.Exit(1) from None


def _load(file: str) -> tuple[DeviceFile, str, str]:
    try:
        device = load(file)
    except DeviceFileError as error:
        _err.print(str(error), markup=False)
        raise typer.Exit(1) from None
    path = Path(file) if Path(file).is_file() else directory() / f"{device.key}.toml"
    return device, str(path), path.read_text(encoding="utf-8")


async def _read(
    forms: list[DeviceFile], host: str, port: int | None, unit: int | None, timeout_s: float | None, *, guess: bool
) -> None:
    misfits: list[NotThisProductError] = []
    for form in forms:
        reader = await Device.open(form, host, port, unit, clock=_SystemClock(), timeout_s=timeout_s)
        try:
            await reader.read()
        except NotThisProductError as error:
            misfits.append(error)
        else:
            _show(reader)
            return
        finally:
            await reader.close()
    if guess and misfits:
        seen = misfits[0]
        raise NotThisProductError(seen.where, f"{seen.cause}; no SunSpec device file fits. Name one with --device")
    raise misfits[0]


def _show(reader: Device) -> None:
    _out.print(f"{reader.where}: {reader.file.device} ({reader.file.key})", markup=False)
    if reader.chain:
        _out.print(f"SunSpec models: {', '.join(f'{one.id} at {one.address}' for one in reader.chain)}", markup=False)
    table = Table(box=None, pad_edge=False)
    for column in ("point", "value", "unit", "access"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for name, reading in reader.last().items():
        point = reader.points[name]
        value = reading.value
        shown = "not implemented" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
        table.add_row(name, shown, point.unit, point.access)
    _out.print(table)
    for name, cause in reader.health.bad_points.items():
        _err.print(f"{name}: {cause}", markup=False)
