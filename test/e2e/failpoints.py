"""The build with failpoints and the protocol it speaks (gofail's), for the tests that let a server die."""
import http.client
import os

from harness import ROOT, Skip, equal, free_port

ETCD = os.path.join(os.environ.get("ETCDC_FAILPOINTS", os.path.join(ROOT, "build/failpoints")), "etcd")
POINTS = ["afterCommit", "afterStartDBTxn", "beforeApplyOneConfChange", "beforeCommit", "beforeStartDBTxn",
          "beforeSyncDataPages", "beforeSyncMetaPage", "commitAfterPreCommitHook", "commitBeforePreCommitHook",
          "compactAfterCommitBatch", "compactAfterCommitScheduledCompact", "compactAfterSetFinishedCompact",
          "compactBeforeCommitBatch", "compactBeforeCommitScheduledCompact", "compactBeforeSetFinishedCompact",
          "defragBeforeCopy", "defragBeforeRename", "raftAfterSave", "raftAfterSaveSnap", "raftAfterWALRelease",
          "raftBeforeSave", "raftBeforeSaveSnap"]
IN_DEFRAG = ["defragBeforeCopy", "defragBeforeRename"]  # passed when somebody asks for one
AT_FOUNDING = ["beforeApplyOneConfChange"]  # passed only when a member joins or a log is replayed


def is_built():
    return os.path.exists(ETCD)


def need_build():
    if not is_built():
        raise Skip(f"no build with failpoints at {ETCD}: make failpoints")


class Failpoints:
    """gofail's protocol, spoken to one server."""

    def __init__(self):
        self.port = free_port()

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def arm(self, point, terms):
        """The server may have died of it before it could answer."""
        try:
            equal(self.call("PUT", "/" + point, terms)[0], 204)
        except (ConnectionError, http.client.HTTPException):
            pass
