"""The one typed settings object (environment prefix `LAKE_`, and a `.env` file).

Belongs here: every setting with its default and meaning; `docs/settings.md` is generated from it.
Does not belong here: any use of a setting. Nothing else in the project reads the environment.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AliasChoices, Field, PrivateAttr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as UnreadableSettings

from lake_resources.binance.market import ARCHIVES_URL, SPOT, UM, Market
from lake_resources.cluster_settings import ClusterSettings
from lake_resources.config_file import ConfigFileSource
from lake_resources.data_root import BUCKET, data_root_of
from lake_resources.errors import SettingsError
from lake_resources.input_limits import InputLimits
from lake_resources.instants import parse_day
from lake_resources.settings_values import (
    GovernorPlace,
    file_of_ledger,
    ledger_address,
    local_place,
    named,
    refuse_odd_places,
    refuse_without_server,
    refused,
    store_address,
    with_scheme,
)
from lake_resources.shards import SHARDED, parse_shard
from lake_resources.symbols import SPOT_PRESETS, parse_symbol
from lake_resources.testing_mode import CompressedTimes
from lake_resources.yahoo.tickers import DEFAULT_TICKERS, YAHOO_URL, parse_ticker


class LakeSettings(ClusterSettings):
    """All settings of the lake. Instances are frozen; unknown `LAKE_` keys in `.env` are refused.

    Raises:
        SettingsError: a value is not what its setting takes; the text names the variable and never a secret.
    """

    model_config = SettingsConfigDict(
        env_prefix="LAKE_",
        env_file=".env",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        # By its own name a setting is read from arguments and files; the environment has the prefix.
        validate_by_name=True,
        validate_by_alias=True,
    )

    root: Path | None = Field(
        None, description="Directory of all data files of the lake; empty means `data/{exchange}`."
    )
    ledger_url: str = Field(
        "",
        repr=False,
        description="SQLAlchemy URL of the ledger; empty means SQLite at `{root}/ledger.sqlite`. Hosts that share a "
        "root or a store share `postgresql+psycopg://user@host/database`.",
    )
    store_url: str = Field(
        "",
        description="Where the Parquet files lie that the ledger names: `s3://bucket/prefix` (with the usual `AWS_*` "
        "variables, and a ledger in Postgres); empty means `file://` and the root.",
    )
    symbols: Annotated[tuple[str, ...], NoDecode] = Field(
        ("BTCUSDT", "ETHUSDT"), description="USD-M symbols, comma separated; each becomes a family of assets."
    )
    spot_symbols: Annotated[tuple[str, ...], NoDecode] = Field(
        ("SOLUSDT", "SUIUSDT", "ADAUSDT"),
        description="Spot symbols, comma separated; `preset19` stands for 19 large ones, nothing switches spot off.",
    )
    shard: str = Field(
        "", description="The part of all symbols that this process has, `3/12` for the third of twelve; empty: all."
    )
    macro_tickers: Annotated[tuple[str, ...], NoDecode] = Field(
        DEFAULT_TICKERS,
        description="Yahoo tickers of macro minutes, comma separated; nothing switches macro off.",
    )
    macro_first_days: int = Field(7, ge=1, le=29, description="Days of a ticker that its first run asks for.")
    macro_look_back_days: int = Field(
        1, ge=1, le=29, description="Days before today that each later run asks for again, for Yahoo corrects them."
    )
    start: date = Field(date(2020, 1, 1), description="First UTC day of every asset's partitions.")
    exchange: str = Field(
        "simulator",
        pattern="^(binance|simulator)$",
        description="`binance` for the real exchange, `simulator` for the built-in one on loopback.",
    )
    simulator_port: int = Field(8900, ge=1, le=65535, description="Port of the built-in simulator on 127.0.0.1.")
    simulator_seed: int = Field(7, description="Seed of the simulated market: same seed, same trades.")
    webserver_port: int = Field(3000, ge=1, le=65535, description="Port of Dagster's web UI.")
    webserver_host: str = Field(
        "127.0.0.1", description="Address that the web UI listens on; one beyond this machine needs `LAKE_WEB_TOKEN`."
    )
    web_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Host names besides loopback's by which the web UI may be asked, comma separated."
    )
    web_token: str = Field(
        "", repr=False, description="Password (any user name) or bearer token of the web UI; empty means none."
    )
    rest_url: str = Field("", description="Base URL of USD-M REST; empty follows `exchange`.")
    spot_rest_url: str = Field("", description="Base URL of spot REST; empty follows `exchange`.")
    yahoo_url: str = Field("", description="Base URL of Yahoo's chart API; empty follows `exchange`.")
    vision_url: str = Field("", description="Base URL of the Vision archives; empty follows `exchange`.")
    ws_url: str = Field("", description="Base URL of USD-M WebSocket streams; empty follows `exchange`.")
    spot_ws_url: str = Field("", description="Base URL of spot WebSocket streams; empty follows `exchange`.")
    safety_lag_minutes: int = Field(3, ge=1, le=60, description="A minute is built once it is closed for this long.")
    max_ffill_minutes: int = Field(60, ge=0, le=1440, description="How long a slow series may be carried forward.")
    quote_carry_s: float = Field(
        10.0, gt=0, le=3600, description="How long a best bid and ask of spot stand for later seconds, seconds."
    )
    weight_share: float = Field(0.8, gt=0, le=1, description="Share of the exchange's request weight the lake may use.")
    parity_weight_share: float = Field(0.1, gt=0, le=1, description="Share of it that comparing stored hours may take.")
    governor_path: Path | None = Field(
        None,
        description="SQLite file of the weight governor. The exchange counts by IP, so all lakes of a host share "
        "`~/.cache/minute-lake/governor.sqlite`; a simulator's is `{root}/governor.sqlite`.",
    )
    rest_timeout_s: float = Field(20.0, gt=0, description="Time-out of one REST call, seconds.")
    rest_attempts: int = Field(5, ge=1, description="Attempts of one REST call, retryable failures only.")
    vision_connections: int = Field(64, ge=1, description="Parallel connections to the archives.")
    days_per_run: int = Field(30, ge=1, description="Archive days that one Dagster run takes in a backfill.")
    hours_per_run: int = Field(168, ge=1, description="Minute hours that one Dagster run takes in a backfill.")
    archive_trades: bool = Field(False, description="Also offer the `trades` archive stream (large).")
    archive_book_depth: bool = Field(False, description="Also offer the `book_depth` archive stream.")
    automation: bool = Field(
        True, description="Sensors and schedules run from the start; without it each is started in the UI."
    )
    hot_interval_s: int = Field(30, ge=5, le=300, description="Seconds between two ticks of the hot band's sensor.")
    hot_builder: bool = Field(
        True, description="`lake up` also starts the resident builder of the hot band (`lake keep-hot`)."
    )
    hot_builder_silent_s: float = Field(
        90.0, ge=5, description="A builder silent for so long is stood in for by Dagster's runs, seconds."
    )
    hot_hours: int = Field(6, ge=1, le=48, description="Hours before the open one that the hot band keeps up.")
    heal_interval_s: int = Field(300, ge=10, description="Seconds between two looks for holes.")
    heal_hours_per_tick: int = Field(24, ge=1, description="Hours that are tried again at one tick, at most.")
    heal_days: int = Field(
        30, ge=1, le=3650, description="Holes of so many days are tried again; what REST keeps of a stream may be less."
    )
    promote_interval_s: int = Field(300, ge=10, description="Seconds between two looks at what Vision publishes.")
    promote_polls_per_tick: int = Field(60, ge=1, description="CHECKSUMs asked for at one tick, at most.")
    prune_after_hours: int = Field(
        24, ge=1, description="Hot runs and superseded raw answers are deleted after this; never a partition's proof."
    )
    webhook_url: str = Field(
        "", repr=False, description="Failures and alarms are posted here as JSON; empty means nowhere."
    )
    heartbeat_s: int = Field(60, ge=5, le=600, description="Seconds between two heartbeats of `lake up`.")
    feed_n_recent: int = Field(
        6, ge=2, le=400, description="Bars of the 1H feed's window: one to append, the others before it are validated."
    )
    feed_buffer_hours: int = Field(
        6, ge=0, le=8760, description="Hours of the 1H feed's inference file beyond 30 days (it has one row more)."
    )
    feed_inference_source: str = Field(
        "db", pattern="^(db|api)$", description="Where the inference file comes from: the table, or the exchange."
    )
    feed_duckdb: Path | None = Field(
        None, description="DuckDB file of the 1H table; default `{root}/feed/ohlcv.duckdb`."
    )
    feed_persist_dir: Path | None = Field(
        None, description="Root directory of the 1H feed's CSV files; default `{root}/feed/artifacts`."
    )
    feed_dataset: str = Field(
        "BINANCE_BTCUSDT.P, 60", description="Name from which the directory of the 1H feed's CSV files is made."
    )
    feed_keep_days: int = Field(30, ge=0, description="Days for which the 1H feed's CSV files are kept; 0 keeps all.")
    feed_warn_skew_s: float = Field(
        10.0, gt=0, description="Difference to the exchange's clock that the 1H feed warns of, seconds."
    )
    feed_catch_up_hours: int = Field(
        168, ge=1, description="Missed hours that the 1H feed's schedule appends in one run, oldest first."
    )
    feed_retry_delay_s: float = Field(
        30.0, gt=0, description="Wait before the first retry of the 1H feed's run, seconds; doubled for each next one."
    )
    dashboard: bool = Field(True, description="`lake up` also starts the dashboard.")
    dashboard_port: int = Field(8501, ge=1, le=65535, description="Port of the dashboard on 127.0.0.1.")
    collector: bool = Field(
        True, description="`lake up` also starts the live collector; without it `lake collect` can be run by itself."
    )
    collector_flush_s: float = Field(
        0.25, gt=0, le=1, description="The collector writes and fsyncs what it heard this often, seconds."
    )
    segment_max_age_hours: int = Field(48, ge=1, description="Raw records of the collector are kept so long.")
    segment_max_gib: float = Field(20.0, gt=0, description="Raw records of the collector take so much disk, at most.")
    log_keep_days: int = Field(
        14, ge=1, description="`lake up` begins each log anew every UTC day, and keeps the old ones for so many days."
    )
    compact_grace_hours: float = Field(
        24.0, ge=0, description="Hours that files stay after a compaction before `lake compact --remove` may take them."
    )
    limits: InputLimits = Field(InputLimits(), description="What a stranger can make this machine hold or wait for.")
    spot_raw_dir: Path | None = Field(
        None, description="The collector writes raw JSON lines of spot below `raw` in this directory; empty: none."
    )
    spot_kline_intervals: Annotated[tuple[Literal["1s", "1m", "5m", "15m", "1h", "1d"], ...], NoDecode] = Field(
        ("1m",), description="Intervals of the tables of spot klines, comma separated: `1s,1m,5m,15m,1h,1d`."
    )
    slice_symbols: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Spot symbols whose raw klines are kept as slices by Dagster, comma separated; default none."
    )
    slice_intervals: Annotated[tuple[str, ...], NoDecode] = Field(
        ("1m",), description="Intervals of these slices, comma separated: `1m`, `1s`."
    )
    slice_requests_per_run: int = Field(
        200, ge=1, description="Slices that the completeness sensor asks for in one run, at most."
    )
    slices_root: str | Path | None = Field(
        None,
        validation_alias=AliasChoices("LAKE_SLICES_ROOT", "QLIR_DATA_ROOT"),
        description="Data root of the raw slices: a directory, or `s3://bucket/prefix` (with the usual `AWS_*` "
        "variables); also read from `QLIR_DATA_ROOT`; default `{root}/slices`.",
    )
    slices_form: Literal["json", "json.zst"] = Field(
        "json", description="How answers of slices are kept: as they came, or compressed (`json.zst`)."
    )
    slices_pause_s: float = Field(
        600.0, ge=0, description="Seconds before a gap, an empty answer or a failure of a slice is asked for again."
    )
    slices_poll_s: float = Field(10.0, gt=0, description="Seconds between two rounds of `lake slices run --forever`.")
    config: Path | None = Field(
        None, description="File of settings in YAML; default `lake.yml` of the working directory, where it is there."
    )
    testing: CompressedTimes = Field(CompressedTimes(), description="Testing mode: the platform in minutes, apart.")
    _whole: dict[str, tuple[str, ...]] = PrivateAttr(default_factory=dict)
    picture: bool = Field(True, description="Attach a small picture of the hour to each materialization.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, the environment, `.env`, the file of settings; who wants no `.env` wants no file either."""
        above = (init_settings, env_settings, dotenv_settings)
        if not isinstance(dotenv_settings, DotEnvSettingsSource) or dotenv_settings.env_file is None:
            return above
        named = env_settings().get("config") or dotenv_settings().get("config")
        return (*above, ConfigFileSource(settings_cls, Path(named) if named else None))

    if not TYPE_CHECKING:  # type checkers know the arguments of the generated one

        def __init__(self, **values: object) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise refused(error) from None
            except (UnreadableSettings, UnicodeDecodeError, OSError) as error:
                raise SettingsError(f"the file .env cannot be read: {error}", remedy="Mend or remove it") from error

    @field_validator("symbols", "spot_symbols", "slice_symbols", "macro_tickers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("web_hosts", "slice_intervals", "spot_kline_intervals", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(dict.fromkeys(part.strip().lower() for part in value.split(",") if part.strip()))
        return value

    @field_validator("slices_root", mode="before")
    @classmethod
    def _place(cls, value: object) -> object:
        return data_root_of(value) if isinstance(value, str | Path) else value

    @field_validator(
        "root", "governor_path", "feed_duckdb", "feed_persist_dir", "config", "spot_raw_dir", mode="before"
    )
    @classmethod
    def _once_for_all(cls, value: object) -> object:
        """Absolute from the start: a child process has another working directory. Empty means the default."""
        return local_place(value) if isinstance(value, str | Path) else value

    @field_validator("ledger_url")
    @classmethod
    def _absolute_file(cls, url: str) -> str:
        """The same for the file of a ledger in SQLite; a server's address stays as it is."""
        return ledger_address(url)

    @field_validator("spot_symbols", mode="before")
    @classmethod
    def _preset(cls, value: object) -> object:
        """The name of a preset as its symbols."""
        return SPOT_PRESETS.get(value.strip().lower(), value) if isinstance(value, str) else value

    @field_validator("symbols", "spot_symbols", "slice_symbols")
    @classmethod
    def _are_names(cls, symbols: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        """Symbols become directories and parts of URLs."""
        return tuple(
            dict.fromkeys(named(f"LAKE_{str(info.field_name).upper()}", parse_symbol, symbol) for symbol in symbols)
        )

    @field_validator("macro_tickers")
    @classmethod
    def _are_tickers(cls, tickers: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(named("LAKE_MACRO_TICKERS", parse_ticker, ticker) for ticker in tickers))

    @field_validator("symbols")
    @classmethod
    def _are_some(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        if not symbols:
            raise SettingsError("LAKE_SYMBOLS names no symbol", remedy="Give symbols such as BTCUSDT, comma separated")
        return symbols

    @field_validator("start", mode="before")
    @classmethod
    def _is_day(cls, value: object) -> object:
        return named("LAKE_START", parse_day, value) if isinstance(value, str) else value

    @field_validator("rest_url", "spot_rest_url", "vision_url", "yahoo_url", "webhook_url")
    @classmethod
    def _is_web(cls, url: str) -> str:
        return with_scheme(url, ("http", "https"))

    @field_validator("ws_url", "spot_ws_url")
    @classmethod
    def _is_socket(cls, url: str) -> str:
        return with_scheme(url, ("ws", "wss"))

    @model_validator(mode="after")
    def _in_testing_mode(self) -> Self:
        """Settings of testing mode in place of those that were given; before anything looks at them."""
        self.__dict__.update(self.testing.changes(self))
        return self

    @model_validator(mode="after")
    def _of_one_shard(self) -> Self:
        """The shard's symbols in place of all."""
        self._whole = {name: getattr(self, name) for name in SHARDED}
        self.__dict__.update(parse_shard(self.shard).parts_of(self._whole))
        return self

    @model_validator(mode="after")
    def _has_server(self) -> Self:
        """Hosts that share an address or files share a server."""
        self.__dict__["store_url"] = store_address(self.store_url, self.lake_root)
        refuse_without_server(self.ledger_file, LAKE_EGRESS_ID=self.egress_id, LAKE_STORE_URL=self.store_url)
        return self

    @model_validator(mode="after")
    def _plain_places(self) -> Self:
        """No place is read as a pattern or an address by those who are given its name."""
        places = {
            "LAKE_ROOT": self.lake_root,
            "LAKE_LEDGER_URL": self.ledger_file,
            "LAKE_FEED_DUCKDB": self.resolved_feed_duckdb,
            "LAKE_FEED_PERSIST_DIR": self.resolved_feed_persist_dir,
            "LAKE_GOVERNOR_PATH": self.governor_path,
        }
        refuse_odd_places(places)
        return self

    @property
    def is_first_shard(self) -> bool:
        """Whether what is not about one symbol belongs here: there is one shard, or it is the first of several."""
        return parse_shard(self.shard).number == 1

    def of_all_shards(self) -> LakeSettings:
        """The same settings with the symbols of all shards."""
        return self.model_copy(update={**self._whole, "shard": ""})

    @property
    def lake_root(self) -> Path:
        """Directory of all data files; one per exchange, so that simulated rows never meet real ones."""
        return (self.root or Path("data") / self.exchange).resolve()

    def rest_url_of(self, market: Market) -> str:
        """Base URL of a market's REST."""
        given = {UM.name: self.rest_url, SPOT.name: self.spot_rest_url}[market.name]
        simulated = f"http://127.0.0.1:{self.simulator_port}"
        return given or (simulated if self.exchange == "simulator" else market.rest_url)

    @property
    def slices_bucket(self) -> str:
        """URL of the bucket and prefix that are the data root of the raw slices; empty where it is a directory."""
        return self.slices_root if isinstance(self.slices_root, str) else ""

    @property
    def resolved_slices_root(self) -> Path:
        """Data root of the raw slices; where that is a bucket, the local directory of its ledger and locks."""
        if isinstance(self.slices_root, str):
            return self.lake_root / "slices-in-buckets" / self.slices_root.removeprefix(BUCKET)
        return (self.slices_root or self.lake_root / "slices").resolve()

    @property
    def resolved_slices_ledger_url(self) -> str:
        """SQLAlchemy URL of the ledger that knows the slices: one of its own for a data root that is not the lake's."""
        if self.slices_root is None:
            return self.resolved_ledger_url
        return f"sqlite:///{self.resolved_slices_root / 'binance' / 'slices.sqlite'}"

    @property
    def resolved_yahoo_url(self) -> str:
        """Base URL of Yahoo's chart API."""
        simulated = f"http://127.0.0.1:{self.simulator_port}"
        return self.yahoo_url or (simulated if self.exchange == "simulator" else YAHOO_URL)

    @property
    def resolved_vision_url(self) -> str:
        """Base URL of the Vision archives (the part before `/data/futures/...`)."""
        simulated = f"http://127.0.0.1:{self.simulator_port}"
        return self.vision_url or (simulated if self.exchange == "simulator" else ARCHIVES_URL)

    @property
    def resolved_ws_url(self) -> str:
        """Base URL of USD-M WebSocket streams (the part before `/market/ws` and `/public/ws`)."""
        return self.ws_url_of(UM)

    def ws_url_of(self, market: Market) -> str:
        """Base URL of a market's WebSocket streams; the simulator has those of spot below `/spot`."""
        given, below = {UM.name: (self.ws_url, ""), SPOT.name: (self.spot_ws_url, "/spot")}[market.name]
        simulated = f"ws://127.0.0.1:{self.simulator_port}{below}"
        return given or (simulated if self.exchange == "simulator" else market.ws_url)

    def symbols_of(self, market: Market) -> tuple[str, ...]:
        """Symbols of a market that the lake holds; none of spot where it is switched off."""
        return {UM.name: self.symbols, SPOT.name: self.spot_symbols}[market.name]

    @property
    def resolved_ledger_url(self) -> str:
        """SQLAlchemy URL of the ledger."""
        return self.ledger_url_at(self.lake_root)

    def ledger_url_at(self, root: Path) -> str:
        """The same for who has `lake_root` at hand: to resolve it anew takes as long as asking the ledger."""
        return self.ledger_url or f"sqlite:///{root / 'ledger.sqlite'}"

    @property
    def ledger_file(self) -> Path | None:
        """File of the ledger, None where it is on a server."""
        return file_of_ledger(self.resolved_ledger_url)

    @property
    def may_have_ledger(self) -> bool:
        """Whether there is a ledger to ask: its file is there, or a server has it."""
        return self.ledger_file is None or self.ledger_file.is_file()

    @property
    def resolved_governor_path(self) -> Path:
        """SQLite file shared by all processes of the host that call the exchange."""
        if self.governor_path is not None:
            return self.governor_path
        if self.exchange == "simulator":
            return self.lake_root / "governor.sqlite"
        return Path.home() / ".cache" / "minute-lake" / "governor.sqlite"

    @property
    def governor_place(self) -> GovernorPlace:
        """Where the weight governor counts."""
        url = self.resolved_ledger_url if self.egress_id else ""
        return GovernorPlace(self.resolved_governor_path, url, self.egress_id)

    @property
    def resolved_feed_duckdb(self) -> Path:
        """DuckDB file of the 1H table."""
        return self.feed_duckdb or self.lake_root / "feed" / "ohlcv.duckdb"

    @property
    def resolved_feed_persist_dir(self) -> Path:
        """Root directory of the 1H feed's CSV files."""
        return self.feed_persist_dir or self.lake_root / "feed" / "artifacts"

    @property
    def web_address(self) -> str:
        """Address of Dagster's web UI, as a browser on this machine writes it."""
        host = "127.0.0.1" if self.webserver_host in {"0.0.0.0", "::"} else self.webserver_host  # noqa: S104
        return f"http://[{host}]:{self.webserver_port}" if ":" in host else f"http://{host}:{self.webserver_port}"

    @property
    def start_utc(self) -> datetime:
        """First instant of every partition set."""
        return datetime(self.start.year, self.start.month, self.start.day, tzinfo=UTC)
