/* Failpoints: named places where a test makes the process die or stall.
 *
 *   FAILPOINT(raftBeforeSave);
 *
 * Compiled in only with Meson's -Dfailpoints=true; otherwise the macro is nothing and no code of
 * this module is linked. Names, terms and the protocol that sets them (cmd/failpoints.c) are
 * gofail's, so that tools which drive Go etcd drive this one too. A point that is not in the table
 * below does not compile.
 *
 *   terms  term["->"term…]              the first that is not used up, and is drawn, acts
 *   term   [<percent>"%"][<count>"*"]action
 *   action off | panic[("text")] | sleep("1s") | sleep(<milliseconds>)
 *
 * This is the one module with state of its own for the whole process, because that is what a
 * failpoint is about: the process dies, whoever passes.
 *
 * Threads: any. A point that is off costs one atomic load. Setting is serialised.
 * Source:  gofail's README and runtime (HTTP, terms); RELIABILITY, "Failpoints" (names). */
#ifndef BASE_FAILPOINT_H
#define BASE_FAILPOINT_H

#include "base/bytes.h"

/* In order of their names, as gofail lists them. */
#define FAILPOINT_TABLE(X)                                                                         \
    X(afterCommit)                                                                                 \
    X(afterStartDBTxn)                                                                             \
    X(beforeApplyOneConfChange)                                                                    \
    X(beforeCommit)                                                                                \
    X(beforeStartDBTxn)                                                                            \
    X(beforeSyncDataPages)                                                                         \
    X(beforeSyncMetaPage)                                                                          \
    X(commitAfterPreCommitHook)                                                                    \
    X(commitBeforePreCommitHook)                                                                   \
    X(compactAfterCommitBatch)                                                                     \
    X(compactAfterCommitScheduledCompact)                                                          \
    X(compactAfterSetFinishedCompact)                                                              \
    X(compactBeforeCommitBatch)                                                                    \
    X(compactBeforeCommitScheduledCompact)                                                         \
    X(compactBeforeSetFinishedCompact)                                                             \
    X(defragBeforeCopy)                                                                            \
    X(defragBeforeRename)                                                                          \
    X(raftAfterSave)                                                                               \
    X(raftAfterSaveSnap)                                                                           \
    X(raftAfterWALRelease)                                                                         \
    X(raftBeforeSave)                                                                              \
    X(raftBeforeSaveSnap)

enum failpoint {
#define X(name) FAILPOINT_##name,
    FAILPOINT_TABLE(X)
#undef X
        FAILPOINT_COUNT,
};

#ifdef FAILPOINTS
#define FAILPOINT(name) failpoint_pass(FAILPOINT_##name)
#else
#define FAILPOINT(name) ((void)0)
#endif

/* Does what the point's terms say: nothing, sleeping in this thread, or ending the process with
 * status 2 and a line on standard error, as a Go panic would. Nothing is flushed or unwound. */
void failpoint_pass(enum failpoint point);

/* Sets the terms of one point; "" and "off" disarm it. The point keeps its old terms on failure.
 *
 * ERR_NOT_FOUND   no such point
 * ERR_INVALID     not a list of terms */
FALLIBLE failpoint_set(struct slice name, struct slice terms, struct errbuf *why);

/* Sets several: "name=terms;name=terms". The ones before a wrong one are set. */
FALLIBLE failpoint_set_all(struct slice list, struct errbuf *why);

/* As DELETE does. ERR_NOT_FOUND: no such point. ERR_INVALID: it is off already. */
FALLIBLE failpoint_clear(struct slice name, struct errbuf *why);

/* Appends the terms as they were set; nothing when it is off. ERR_NOT_FOUND: no such point. */
FALLIBLE failpoint_terms(struct slice name, struct buf *out);
/* How often the point acted since its terms were set. ERR_NOT_FOUND: no such point. */
FALLIBLE failpoint_count(struct slice name, uint64_t *out);
/* Appends a line "name=terms" for every point, in order. */
void failpoint_list(struct buf *out);

#endif
