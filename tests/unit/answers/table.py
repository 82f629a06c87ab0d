"""What each command prints with `--json` and each call of the control API answers, by type."""

from __future__ import annotations

from p2pqwen.assembly.archive_answer import AdoptAnswer, RebalanceAnswer
from p2pqwen.assembly.running import RunAnswer
from p2pqwen.cli.completion import InstalledAnswer, ScriptAnswer
from p2pqwen.cli.dashboard import DashboardAnswer
from p2pqwen.cli.help import PageAnswer, Topics
from p2pqwen.cli.json_text import _EventLine, _Failed
from p2pqwen.demo.story import Told
from p2pqwen.operations.archive.bulk_answer import BulkAnswer
from p2pqwen.operations.archive.health import HealthAnswer
from p2pqwen.operations.archive.upstream import UpstreamChecked, UpstreamShown
from p2pqwen.operations.control.alerts import AlertsAnswer, TriedAnswer
from p2pqwen.operations.control.daemon import DaemonAnswer
from p2pqwen.operations.control.doctor import Findings
from p2pqwen.operations.control.inventory_answer import InventoryAnswer
from p2pqwen.operations.control.moved_answer import MoveAnswer
from p2pqwen.operations.control.routes import DueAnswer, NetworkAnswer, NodeAnswer
from p2pqwen.operations.control.snapshot_calls import ChoiceAnswer, ChoicesAnswer, RemovedAnswer
from p2pqwen.operations.control.status import NodeStatusAnswer, StatusAnswer
from p2pqwen.operations.fetch.fetch_answer import FetchedAnswer, FetchShown
from p2pqwen.operations.fetch.import_answer import ImportAnswer
from p2pqwen.operations.fetch.webseed_answer import WebSeedAnswer
from p2pqwen.operations.indexes.index_answer import DiffAnswer, IndexAnswer, UpdateAnswer
from p2pqwen.operations.indexes.search_answer import SearchAnswer
from p2pqwen.operations.indexes.trust_answer import TrustedList, TrustedWithKeys, TrustRemoved
from p2pqwen.operations.node.job_answer import JobAnswer, JobLine, JobsAnswer
from p2pqwen.operations.node.limits import LimitsAnswer
from p2pqwen.operations.node.service import ServiceAnswer
from p2pqwen.operations.preserve.preserve_answer import PreserveAnswer
from p2pqwen.operations.publish.keys_answer import NewKeyAnswer, PublisherAnswer, RotationAnswer, SpareKeysAnswer
from p2pqwen.operations.publish.publish_answer import ProposalAnswer, PublishAnswer
from p2pqwen.operations.verify.export_answer import ExportAnswer
from p2pqwen.operations.verify.scrub import ScrubAnswer
from p2pqwen.operations.verify.verify_answer import TorrentAnswer, VerifiedAnswer, VerifyAnswer
from p2pqwen.server.problem import Refusal

COMMANDS: dict[str, tuple[type, ...]] = {
    "alerts list": (AlertsAnswer,),
    "alerts test": (TriedAnswer,),
    "adopt": (AdoptAnswer,),
    "completion": (ScriptAnswer, InstalledAnswer),
    "demo": (Told,),
    "doctor": (Findings,),
    "export": (ExportAnswer,),
    "fetch": (FetchShown, FetchedAnswer),
    "health": (HealthAnswer,),
    "help": (Topics, PageAnswer),
    "index diff": (DiffAnswer,),
    "index show": (IndexAnswer,),
    "index sign": (PublishAnswer,),
    "index update": (UpdateAnswer,),
    "index verify": (IndexAnswer,),
    "keys accept": (PublisherAnswer,),
    "keys init": (PublisherAnswer,),
    "keys new": (NewKeyAnswer,),
    "keys rotate": (RotationAnswer,),
    "keys show": (PublisherAnswer, SpareKeysAnswer),
    "keys sign": (RotationAnswer,),
    "library import": (ImportAnswer,),
    "library move": (MoveAnswer,),
    "library scrub": (ScrubAnswer,),
    "limits": (LimitsAnswer,),
    "list": (InventoryAnswer,),
    "pause": (ChoiceAnswer, ChoicesAnswer),
    "pin": (ChoiceAnswer, ChoicesAnswer),
    "preserve": (PreserveAnswer, BulkAnswer),
    "priority": (ChoiceAnswer,),
    "publish": (PublishAnswer, ProposalAnswer),
    "rebalance": (RebalanceAnswer,),
    "remove": (RemovedAnswer,),
    "resume": (ChoiceAnswer, ChoicesAnswer),
    "search": (SearchAnswer,),
    "hub": (_EventLine,),
    "run": (RunAnswer,),
    "seed": (_EventLine, DaemonAnswer),
    "service install": (ServiceAnswer,),
    "service status": (ServiceAnswer,),
    "service uninstall": (ServiceAnswer,),
    "status": (StatusAnswer,),
    "dashboard": (DashboardAnswer,),
    "torrent show": (TorrentAnswer,),
    "trust add": (TrustedWithKeys,),
    "trust list": (TrustedList,),
    "trust remove": (TrustRemoved,),
    "trust show": (TrustedWithKeys,),
    "unpin": (ChoiceAnswer, ChoicesAnswer),
    "upstream check": (UpstreamChecked,),
    "upstream show": (UpstreamShown,),
    "verify": (VerifyAnswer, VerifiedAnswer),
    "webseed check": (WebSeedAnswer,),
}
CALLS: dict[str, type] = {
    "GET /v1/node": NodeAnswer,
    "GET /v1/status": NodeStatusAnswer,
    "GET /v1/network": NetworkAnswer,
    "GET /v1/snapshots": InventoryAnswer,
    "POST /v1/snapshots/pause": ChoiceAnswer,
    "POST /v1/snapshots/resume": ChoiceAnswer,
    "POST /v1/snapshots/remove": RemovedAnswer,
    "POST /v1/snapshots/pin": ChoiceAnswer,
    "POST /v1/snapshots/unpin": ChoiceAnswer,
    "POST /v1/snapshots/priority": ChoiceAnswer,
    "GET /v1/fetches": JobsAnswer,
    "POST /v1/fetches": JobAnswer,
    "GET /v1/fetches/{id}/events": JobLine,
    "DELETE /v1/fetches/{id}": JobAnswer,
    "GET /v1/limits": LimitsAnswer,
    "PUT /v1/limits": LimitsAnswer,
    "POST /v1/scrub": DueAnswer,
}
FAILURES: dict[str, type] = {"a command that failed": _Failed, "a call that failed": Refusal}
