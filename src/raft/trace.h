/* Trace lines: formatted only when somebody listens. Inside raft only. */
#ifndef RAFT_TRACE_H
#define RAFT_TRACE_H

#include "raft/raft.h"

#include <inttypes.h>

struct raft_trace {
    raft_trace_fn *fn; /* NULL: silence */
    void *priv;
};

__attribute__((format(printf, 3, 4), cold)) void raft__trace_line(const struct raft_trace *trace,
                                                                  enum raft_trace_level level,
                                                                  const char *format, ...);

/* The arguments are not evaluated in silence. */
#define RAFT_TRACE(trace, level, ...)                                                              \
    do {                                                                                           \
        if (__builtin_expect((trace)->fn != NULL, 0)) {                                            \
            raft__trace_line((trace), (level), __VA_ARGS__);                                       \
        }                                                                                          \
    } while (0)

#endif
