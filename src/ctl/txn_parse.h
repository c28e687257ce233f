/* The lines of a transaction as people type them:
 *
 *   compares    mod("key") > "0"   ver("k") = "1"   create(…)  value("k") != "v"
 *   operations  put key "a value"  get key --prefix  del key --prev-kv
 *
 * Pure: a line in, a message or a sentence out.
 *
 * Ownership: results live in the arena.
 * Threads:   no shared state.
 * Source:    etcdctl 3.6: ParseCompare (fmt.Sscanf with `%q) %s %q`), Argify, and the commands' own
 *            flags. Where etcdctl panics (a lease compare, an unknown operator) or hangs (help as
 * an operation) there is a sentence here; the exit code of a panic, 2, is kept. */
#ifndef CTL_TXN_PARSE_H
#define CTL_TXN_PARSE_H

#include "ctl/kv_op.h"

/* A line longer than this is no line. */
#define TXN_LINE_MAX ((size_t)16 * 1024 * 1024)

/* CTL_OK, or the exit code with a sentence appended to *why. `line` has no white space at its
 * ends. */
int txn_parse_compare(struct arena *arena, struct slice line, Etcdserverpb__Compare **out,
                      struct buf *why);
int txn_parse_op(struct arena *arena, struct slice line, const struct kv_input *input,
                 Etcdserverpb__RequestOp **out, struct buf *warning, struct buf *why);

/* Splits a line into words: "…" with Go's escapes, '…' as it is, else up to white space.
 * CTL_INVALID_INPUT on a bad escape. */
int txn_parse_words(struct arena *arena, struct slice line, const char ***words_out,
                    size_t *count_out, struct buf *why);

#endif
