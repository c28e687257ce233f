/* How tests reach the failpoints of a build that has them (base/failpoint.h).
 *
 *   $GOFAIL_FAILPOINTS  "name=terms;name=terms", set at start
 *   $GOFAIL_HTTP        "host:port" to listen on, for as long as the process lives:
 *
 *   GET    /             every point, a line "name=terms" each
 *   GET    /<name>       its terms
 *   GET    /<name>/count how often it acted
 *   PUT    /<name>       the body is its terms                          204
 *   PUT    /failpoints   the body is "name=terms;name=terms"            204
 *   DELETE /<name>       disarms it                                     204
 *
 * It runs on the loop: while a point on the loop sleeps, nobody is answered.
 *
 * Threads: loop thread. Source: gofail's runtime. */
#ifndef CMD_FAILPOINTS_H
#define CMD_FAILPOINTS_H

#include "net/http.h"

/* *out is NULL where $GOFAIL_HTTP is not set; free it with http_server_free().
 *
 * ERR_INVALID, ERR_NOT_FOUND   $GOFAIL_FAILPOINTS is wrong, or $GOFAIL_HTTP is no address
 * ERR_IO, ERR_EXISTS …         as http_server_listen() */
FALLIBLE failpoints_start(struct env *env, struct loop *loop, struct http_server **out,
                          struct errbuf *why);

#endif
