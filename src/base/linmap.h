/* A hash map for very many small objects that grows by one bucket at a time (linear hashing).
 *
 * The map of base/coll.h doubles all at once, which is a pause when it has a million nodes, and
 * keeps the hash in every node. Here a node is one pointer; the hash is asked for again when its
 * bucket is split. Each insertion splits at most one bucket and each removal joins at most two, so
 * there are as many buckets as nodes, or up to twice as many while nodes go, and no moment at which
 * all of them move.
 *
 * Ownership: intrusive; nodes are the caller's, and CONTAINER_OF leads back. Only the buckets are
 *            allocated here.
 * Threads:   one at a time.
 * Order:     not one that may be seen. */
#ifndef BASE_LINMAP_H
#define BASE_LINMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct linmap_node {
    struct linmap_node *next;
};
/* Of keys from outside: keyed with a random seed (digest.h: hash64). Always the same for a node. */
typedef uint64_t linmap_hash_fn(const void *ctx, const struct linmap_node *node);
typedef bool linmap_eq_fn(const struct linmap_node *node, const void *key);

struct linmap {
    linmap_hash_fn *hash;
    const void *ctx;
    size_t count;
    size_t bucket_count;
    struct linmap_node ***parts; /* each as large as all before it together */
};

void linmap_init(struct linmap *map, linmap_hash_fn *hash, const void *ctx); /* allocates nothing */
void linmap_fini(struct linmap *map); /* frees the buckets, not the nodes */

struct linmap_node *linmap_find(const struct linmap *map, uint64_t hash, linmap_eq_fn *eq,
                                const void *key);
void linmap_insert(struct linmap *map, struct linmap_node *node);
void linmap_remove(struct linmap *map, struct linmap_node *node);

/* Any node, or NULL: for tearing down in steps. *below, SIZE_MAX at first, remembers from where on
 * nothing is left. Between two calls nodes may be removed and nothing else. */
struct linmap_node *linmap_any(const struct linmap *map, size_t *below);
/* Every node; the callee changes nothing. */
void linmap_each(const struct linmap *map, void (*each)(void *ctx, struct linmap_node *node),
                 void *ctx);

/* ASSERTs that every node is where it is looked for. Slow. */
void linmap_check(const struct linmap *map);

#endif
