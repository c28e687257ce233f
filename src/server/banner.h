/* The lines that scripts and test harnesses wait for, from start to stop, worded as etcd 3.5 and
 * 3.6 word them (docs/notes/log-lines.md).
 *
 * Threads: loop thread only. */
#ifndef SERVER_BANNER_H
#define SERVER_BANNER_H

#include "base/log.h"
#include "server/config.h"

/* "configuring … listeners", "starting an etcd server" with every setting. */
void banner_starting(const struct config *config, const struct log *log, bool is_initialized);
/* "now serving peer/client/metrics": the sockets are bound. */
void banner_serving(const struct config *config, const struct log *log, uint64_t member_id);
/* "ready to serve client requests", and a warning per cleartext address. */
void banner_ready(const struct config *config, const struct log *log);
/* "received signal; shutting down" */
void banner_signal(const struct log *log, const char *name);
void banner_closing(const struct config *config, const struct log *log);
void banner_closed(const struct config *config, const struct log *log);

#endif
