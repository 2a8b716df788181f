"""What goes in and out of the workers, how fast, and what they are busy with."""

from __future__ import annotations

from scripts.dashboards.panels import (
    GREEN,
    RED,
    YELLOW,
    chooser,
    dashboard,
    lines,
    row,
    stat,
    table,
)


def quantile(q: float, name: str, by: str = "") -> str:
    """A quantile of a histogram over the chosen workers."""
    groups = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({groups}) (rate({name}_bucket{{$W}}[$R])))"


def rate(name: str) -> str:
    """A counter, per second, over the chosen workers."""
    return f"sum(rate({name}{{$W}}[$R]))"


LATENCY = "slotcast_tick_to_forecast_seconds"
PARTS = "slotcast_tick_to_forecast_part_seconds"
NOW = [
    row("Now"),
    stat(
        "Readiness", "min(slotcast_ready{$W})", "none",
        "The worst worker. Not ready: recovering, too far behind, or without Kafka; GET "
        "/v2/health/ready says which.",
        says={0: ("not ready", RED), 1: ("ready", GREEN)}, noValue="down",
    ),
    stat(
        "Alerts", 'count(ALERTS{alertstate="firing",alertname=~"Slotcast.*"}) or vector(0)', "none",
        "Alerts that fire, of all workers; docs/runbooks.md has an entry for each.",
        [(None, GREEN), (1, RED)],
    ),
    stat(
        "Ticks", rate("slotcast_ticks_total"), "recps", "Valid ticks stepped and committed.", min=0
    ),
    stat(
        "Tick to forecast, p99", quantile(0.99, LATENCY), "s",
        "From a tick's record timestamp to the commit of its forecast: 99 of 100 forecasts were "
        "faster.",
        [(None, GREEN), (0.5, YELLOW), (2, RED)], min=0,
    ),
    stat(
        "Lag", "sum(slotcast_lag_ticks{$W})", "short",
        "Records between commit and end of log, all partitions. A worker further behind than "
        "worker.lag_ready_ticks (100,000) is not ready.",
        [(None, GREEN), (10_000, YELLOW), (100_000, RED)], min=0,
    ),
    stat(
        "Behind", "max(slotcast_lag_seconds{$W})", "s",
        "Age of the last record stepped in the partition that is furthest behind, or 0.",
        [(None, GREEN), (10, YELLOW), (60, RED)], min=0,
    ),
    stat(
        "Snapshot age", "max(slotcast_snapshot_age_seconds{$W})", "s",
        "The oldest watermark that has not caught up: a crash now would replay the ticks since.",
        [(None, GREEN), (60, YELLOW), (300, RED)], min=0,
    ),
    stat(
        "Store", "min(slotcast_store_up{$W})", "none",
        "Whether Redis answered the last call of every worker.",
        says={0: ("away", RED), 1: ("there", GREEN)},
    ),
]  # fmt: skip
THROUGHPUT = [
    row("Throughput"),
    lines(
        "Ticks and forecasts",
        {"ticks": rate("slotcast_ticks_total"), "forecasts": rate("slotcast_forecasts_total")},
        "recps", "Forecasts rise with ticks, one for one.", (12, 8), min=0,
    ),
    lines(
        "Rejects by reason",
        {"{{reason}}": "sum by (reason) (rate(slotcast_rejects_total{$W}[$R]))"},
        "recps", "Records that were no valid ticks; the dead-letter topic has them.", (6, 8), min=0,
    ),
    lines(
        "Repeats, resets and imports",
        {
            "repeats": rate("slotcast_repeats_total"),
            "resets": rate("slotcast_resets_total"),
            "imports": rate("slotcast_imports_total"),
        },
        "recps", "Ticks seen before, and changes of memory from outside.", (6, 8), min=0,
    ),
]  # fmt: skip
LATENCIES = [
    row("Latency"),
    lines(
        "Tick to forecast", {f"p{q:g}": quantile(q / 100, LATENCY) for q in (50, 90, 99)},
        "s", "From a tick's record timestamp to the commit of its forecast.", min=0,
    ),
    lines(
        "Where a forecast's time goes",
        {
            "{{part}}": f"sum by (part) (rate({PARTS}_sum{{$W}}[$R]))"
            f" / sum by (part) (rate({PARTS}_count{{$W}}[$R]))"
        },
        "s",
        "Mean seconds per forecast: until its poll was begun, then that poll's step and commit. "
        "Together they are the mean tick to forecast.",
        stacked=True, min=0,
    ),
    lines(
        "Queue, step and commit, p99",
        {"{{part}}": quantile(0.99, PARTS, "part")},
        "s", "The slowest of a hundred forecasts, part by part.", min=0,
    ),
    lines(
        "Step of a poll", {f"p{q:g}": quantile(q / 100, "slotcast_step_seconds") for q in (50, 99)},
        "s", "Parse, bring rows in, step and encode: the worker's own work.", min=0,
    ),
    lines(
        "Commit of a poll",
        {f"p{q:g}": quantile(q / 100, "slotcast_commit_seconds") for q in (50, 99)},
        "s", "Publish forecasts and commit offsets: the log's work.", min=0,
    ),
    lines(
        "What the worker's thread is busy with",
        {
            "step": "avg(rate(slotcast_step_seconds_sum{$W}[$R]))",
            "commit": "avg(rate(slotcast_commit_seconds_sum{$W}[$R]))",
        },
        "percentunit", "Share of the time; the rest is waiting for ticks.",
        stacked=True, min=0, max=1,
    ),
]  # fmt: skip
LOG = [
    row("Log"),
    lines(
        "Lag by partition",
        {"partition {{partition}}": "max by (partition) (slotcast_lag_ticks{$P})"},
        "short", "Records between commit and end of log.", min=0,
    ),
    lines(
        "Behind by partition",
        {"partition {{partition}}": "max by (partition) (slotcast_lag_seconds{$P})"},
        "s", "Age of the last record stepped while more wait, in a replay too.", min=0,
    ),
    lines(
        "Commits and aborts",
        {
            "commits": rate("slotcast_commits_total"),
            "aborts: {{cause}}": "sum by (cause) (rate(slotcast_aborts_total{$W}[$R]))",
        },
        "ops", "An aborted poll has not happened: its partitions are recovered.", min=0,
    ),
]  # fmt: skip
SLOTS = [
    row("Slots"),
    lines(
        "Slots",
        {
            "used": "sum(slotcast_slots_used{$W})",
            "free": "sum(slotcast_slots_free{$W})",
            "capacity": "sum(slotcast_slots_capacity{$W})",
        },
        "short", "Used may exceed capacity between two commits.", min=0,
    ),
    lines(
        "Instruments paged out", {"paged out": "sum(slotcast_instruments_paged{$W})"},
        "short", "Their memory is in the store and comes back with their next tick.", min=0,
    ),
    lines(
        "Paging", {"in": rate("slotcast_page_ins_total"), "out": rate("slotcast_page_outs_total")},
        "rowsps", "If rows come in all the time, there are too few slots.", min=0,
    ),
]  # fmt: skip
STORE = [
    row("Snapshots and store"),
    lines(
        "Snapshot age by partition",
        {"partition {{partition}}": "max by (partition) (slotcast_snapshot_age_seconds{$P})"},
        "s", "Grows while ticks arrive and no snapshot is complete.", min=0,
    ),
    lines(
        "Snapshot seconds",
        {f"p{q:g}": quantile(q / 100, "slotcast_snapshot_seconds") for q in (50, 99)},
        "s", "From the beginning of a snapshot to its watermark, in slices between commits.", min=0,
    ),
    lines(
        "Snapshots, failures and fences",
        {
            "snapshots": rate("slotcast_snapshot_seconds_count"),
            "calls without an answer": rate("slotcast_store_failures_total"),
            "fences": rate("slotcast_fences_total"),
        },
        "ops", "A fence is a write that the store refused, since somebody else owns the partition.",
        min=0,
    ),
]  # fmt: skip
RECOVERY = [
    row("Partitions and recovery"),
    lines(
        "Partitions by phase", {"{{phase}}": "sum by (phase) (slotcast_partitions{$W})"},
        "short", "A stopped partition waits for a decision: see /v2/health/ready.", min=0,
    ),
    lines(
        "Recoveries by cause", {"{{cause}}": "sum by (cause) (slotcast_recoveries_total{$W})"},
        "short", "gained: a start or a takeover; the others are errors by name.", min=0,
    ),
    lines(
        "Seconds until live, by cause",
        {
            "{{cause}}": "sum by (cause) (slotcast_recovery_seconds_sum{$W})"
            " / (sum by (cause) (slotcast_recovery_seconds_count{$W}) > 0)"
        },
        "s", "Mean since the workers started; gained is a takeover, or a start.", min=0,
    ),
    lines(
        "Takeovers and starts",
        {
            f"p{q:g}": f"histogram_quantile({q / 100}, sum by (le)"
            ' (slotcast_recovery_seconds_bucket{$W,cause="gained"}))'
            for q in (50, 90)
        },
        "s", "From assignment to live, since the workers started.", min=0,
    ),
    lines(
        "Replayed ticks", {"replayed": rate("slotcast_replayed_ticks_total")},
        "recps", "Stepped silently, to bring memory up to the commit.", min=0,
    ),
    lines(
        "Recoveries that were not simply exact",
        {"{{policy}}": "sum by (policy) (slotcast_recovery_decisions_total{$W})"},
        "short", "What was decided; replay is exact, and only longer.", min=0,
    ),
]  # fmt: skip
PROCESS = [
    row("Processes"),
    table(
        "Workers", {"is there": "slotcast_info{$W}"},
        "Workers with the same version, bundle and numerics publish the same bytes.",
        {"instance": "worker", "version": "version", "bundle": "bundle", "numerics": "numerics"},
        (12, 8),
    ),
    lines(
        "Processor", {"{{instance}}": "rate(process_cpu_seconds_total{$W}[$R])"},
        "percentunit", "1 is one core.", (6, 8), min=0,
    ),
    lines(
        "Memory",
        {
            "{{instance}}": "process_resident_memory_bytes{$W}",
            "{{instance}} with all that is mapped": "process_virtual_memory_bytes{$W}",
        },
        "bytes", "Resident memory stays where it is after the first minutes.", (6, 8), min=0,
    ),
    lines(
        "Last seen at work", {"{{instance}}": "slotcast_turn_age_seconds{$W}"},
        "s", "The worker's thread comes by twice a second, or it hangs.", min=0,
    ),
    lines(
        "Open files",
        {
            "{{instance}}": "process_open_fds{$W}",
            "{{instance}}, most": "process_max_fds{$W}",
        },
        "short", "Connections included.", min=0,
    ),
    lines(
        "Up for", {"{{instance}}": "time() - process_start_time_seconds{$W}"},
        "s", "Falls to 0 where a worker was started again.", min=0,
    ),
]  # fmt: skip

DASHBOARD = dashboard(
    "slotcast",
    "slotcast: service",
    "One worker or many: what goes in and out, how fast, and what they are busy with.",
    [*NOW, *THROUGHPUT, *LATENCIES, *LOG, *SLOTS, *STORE, *RECOVERY, *PROCESS],
    chooser("partition", "Partition", "label_values(slotcast_lag_ticks{$W}, partition)"),
)
