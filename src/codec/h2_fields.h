/* What RFC 9113 section 8 asks of a request's header blocks. Inside of h2 only; the server's role.
 *
 * nghttp2 has this check too, and refuses one thing that clients of etcd send: grpc-go up to 1.40
 * (etcdctl 3.4) gives "http://127.0.0.1:2379" as :authority when it is told a URL, and Go's servers
 * take it. So the server's sessions run without nghttp2's check and with this one. Where it is
 * more lenient than the RFC it is as Go is:
 *
 *   - :authority and host are any field value, and may be absent or both there;
 *   - :path need not begin with a slash: gRPC has an answer for that;
 *   - a value may begin or end with a blank: grpc-go sends metadata as it is.
 *
 * A malformed block costs its stream (PROTOCOL_ERROR). No ownership: the struct is a value, one for
 * each block; nothing is kept of the fields but what they were. */
#ifndef CODEC_H2_FIELDS_H
#define CODEC_H2_FIELDS_H

#include "base/bytes.h"

/* No content-length was given. */
#define H2_LENGTH_NONE UINT64_MAX

struct h2_fields {
    bool is_trailers;
    bool has_regular; /* pseudo-fields may not follow */
    unsigned seen;    /* pseudo-fields and content-length, a bit each */
    uint64_t length;  /* of content-length */
};

void h2_fields_init(struct h2_fields *fields, bool is_trailers);
/* The next field of the block. False: it makes the request malformed. */
bool h2_fields_add(struct h2_fields *fields, struct slice name, struct slice value);
/* The block is whole; `is_end`: END_STREAM came with it. False: the request is malformed. */
bool h2_fields_finish(const struct h2_fields *fields, bool is_end);

#endif
