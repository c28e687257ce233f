/* A model of bolt's contents for tests and fuzzers: sorted arrays of rows, buckets inside.
 *
 * Slow and simple on purpose. Disagreement ends in an ASSERT, so that a test, a fuzz target and a
 * replayed corpus all stop in the same way.
 *
 * Ownership: a model owns its rows and the buckets inside. */
#ifndef STORAGE_BOLT_MODEL_H
#define STORAGE_BOLT_MODEL_H

#include "storage/bolt.h"

struct model;
struct model_row {
    struct slice key;     /* owned */
    struct slice value;   /* owned */
    struct model *bucket; /* or NULL */
};
struct model {
    struct model_row *rows; /* ascending */
    size_t count;
    size_t cap;
    uint64_t sequence;
};

struct model *model_new(void);
struct model *model_clone(const struct model *model);
void model_free(struct model **model); /* NULLs; safe on NULL */

/* The first row whose key is not less. */
size_t model_search(const struct model *model, struct slice key, bool *exact_out);
void model_put(struct model *model, struct slice key, struct slice value);
/* Deletes a plain row or a bucket. */
void model_remove(struct model *model, size_t index);
struct model *model_bucket_ensure(struct model *model, struct slice name);

/* ASSERTs that the bucket holds exactly this, by cursor in both directions, by get and by seek, and
 * of a read transaction by walks. */
void model_compare(const struct model *model, struct bolt_bucket *bucket);
/* The same by a walk that has entered the bucket. */
void model_compare_walk(const struct model *model, struct bolt_walk *walk, bool is_long);

/* Random numbers of a test: the same seed gives the same ones (splitmix64). With `script` they are
 * read from there instead, two bytes a number, then zeroes: a fuzzer decides. */
struct model_random {
    uint64_t state;
    struct slice script; /* data NULL: none */
};
uint64_t model_random(struct model_random *random);
/* Below `end`, which is not 0. */
uint64_t model_random_below(struct model_random *random, uint64_t end);

/* How a random change is made. */
struct model_mix {
    const char *name;
    uint32_t key_space;  /* distinct keys in a bucket */
    uint32_t value_max;  /* bytes, usually */
    uint32_t delete_pct; /* of the operations */
    uint32_t bucket_pct; /* of the operations work on buckets */
    uint32_t huge_pct;   /* of the values take several pages */
};
/* "even", "growing", "shrinking", "nested" or "tiny"; NULL for another name. */
const struct model_mix *model_mix_named(const char *name);
/* One random operation on both, anywhere in the tree. ASSERTs that the results agree. */
void model_step(struct model_random *random, const struct model_mix *mix, struct model *model,
                struct bolt_bucket *bucket);
/* The same in one of three top-level buckets, made when missing, with a random fill. */
void model_step_top(struct model_random *random, const struct model_mix *mix, struct model *model,
                    struct bolt_tx *tx);

#endif
