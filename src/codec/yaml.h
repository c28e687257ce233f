/* YAML documents as trees: the only door to libyaml.
 *
 * For configuration files, which come from outside: every limit below is met before memory is
 * taken. Plain scalars are resolved as go-yaml v2 does (YAML 1.1: yes/no/on/off, 0x, 0o, 0b, octal
 * 0777, underscores, .inf). JSON is a subset. Only the first document counts.
 *
 * Aliases share their anchor's node, so a tree is a directed graph without cycles; a document that
 * would hold more than YAML_NODES_MAX nodes written out is refused, as is an anchor inside itself.
 *
 * Ownership: the tree lives in the caller's arena; the input is borrowed during the call only.
 * Threads:   pure.
 * Failure:   ERR_INVALID with go-yaml's sentence ("yaml: line 2: did not find expected key"),
 *            ERR_TOO_LARGE over a limit. */
#ifndef CODEC_YAML_H
#define CODEC_YAML_H

#include "base/bytes.h"
#include "base/mem.h"

#define YAML_LEN_MAX (1u << 20)
#define YAML_DEPTH_MAX 64
#define YAML_NODES_MAX 100000
#define YAML_ANCHORS_MAX 1000

enum yaml_kind {
    YAML_KIND_NULL,
    YAML_KIND_BOOL,
    YAML_KIND_INT,  /* fits int64_t */
    YAML_KIND_UINT, /* over INT64_MAX */
    YAML_KIND_FLOAT,
    YAML_KIND_STRING,
    YAML_KIND_LIST,
    YAML_KIND_MAP,
};

struct yaml_node;
struct yaml_pair {
    const struct yaml_node *key; /* a scalar */
    const struct yaml_node *value;
};

struct yaml_node {
    enum yaml_kind kind;
    uint32_t line;     /* from 1 */
    uint32_t size;     /* nodes in it, written out */
    struct slice text; /* scalars: as written, with a 0 behind it */
    bool boolean;
    int64_t i64;
    uint64_t u64;
    double f64;
    size_t count;                         /* of items or pairs */
    const struct yaml_node *const *items; /* YAML_KIND_LIST */
    const struct yaml_pair *pairs;        /* YAML_KIND_MAP, in order; a key may repeat */
};

/* *out is never NULL on success: an empty document is a null node. */
FALLIBLE yaml_parse(struct arena *arena, struct slice text, const struct yaml_node **out,
                    struct errbuf *why);

/* The value of the last pair whose key reads `key`, or NULL; also when `map` is no map. */
const struct yaml_node *yaml_find(const struct yaml_node *map, const char *key);

#endif
