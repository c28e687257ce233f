/* Software transactional memory: a body that reads and writes, run again until it commits without
 * anybody in between.
 *
 * What is checked at the commit, by isolation:
 *
 *   serializable snapshot  what was read is unchanged; what is written, unchanged since the reads
 *   serializable           what was read is unchanged
 *   repeatable reads       what was read is unchanged
 *   read committed         nothing
 *
 * The first two read everything as of one revision, that of the first read; the others read each
 * key when it is first asked for. When the check fails, the answer of the serializable kinds brings
 * what was read as it is now, so that running again costs no further reads of those keys.
 *
 * Everything runs on the caller's thread.
 *
 * Source: clientv3/concurrency, STM. */
#include "client/client_priv.h"
#include "client/etcdclient_priv.h"

struct read {
    struct list link;
    struct buf key;
    struct buf value;
    int64_t mod_revision; /* 0: there is no such key */
    int64_t revision;     /* of the store, when it was read */
};

struct write {
    struct list link;
    struct buf key;
    struct buf value;
    int64_t lease;
    bool is_delete;
};

struct etcd_stm {
    struct etcd_client *client;
    enum etcd_isolation isolation;
    struct list reads;
    struct list prefetched; /* reads that nobody has asked for yet in this run */
    struct list writes;
    int64_t base;            /* revision that all reads are of; 0: not known yet */
    struct etcd_error error; /* of the first read that failed */
};

static bool has_one_revision(const struct etcd_stm *stm)
{
    return stm->isolation == ETCD_SERIALIZABLE_SNAPSHOT ||
           stm->isolation == ETCD_ISOLATION_SERIALIZABLE;
}

/* ---- sets -------------------------------------------------------------------------------- */

static struct read *read_find(struct list *reads, struct etcd_slice key)
{
    LIST_FOR_EACH (reads, node) {
        struct read *read = CONTAINER_OF(node, struct read, link);
        if (slice_eq(buf_slice(&read->key), etcd__slice(key))) {
            return read;
        }
    }
    return NULL;
}

static struct write *write_find(struct etcd_stm *stm, struct etcd_slice key)
{
    LIST_FOR_EACH (&stm->writes, node) {
        struct write *write = CONTAINER_OF(node, struct write, link);
        if (slice_eq(buf_slice(&write->key), etcd__slice(key))) {
            return write;
        }
    }
    return NULL;
}

static void reads_free(struct list *reads)
{
    for (struct list *node = list_pop(reads); node != NULL; node = list_pop(reads)) {
        struct read *read = CONTAINER_OF(node, struct read, link);
        buf_fini(&read->key);
        buf_fini(&read->value);
        mem_free(read);
    }
}

static void writes_free(struct list *writes)
{
    for (struct list *node = list_pop(writes); node != NULL; node = list_pop(writes)) {
        struct write *write = CONTAINER_OF(node, struct write, link);
        buf_fini(&write->key);
        buf_fini(&write->value);
        mem_free(write);
    }
}

static struct read *read_add(struct list *reads, struct etcd_slice key,
                             const struct etcd_result *range, int64_t revision)
{
    struct read *read = NEW(struct read);
    buf_append_slice(&read->key, etcd__slice(key));
    read->revision = revision;
    if (range->kv_count > 0) {
        buf_append_slice(&read->value, etcd__slice(range->kvs[0].value));
        read->mod_revision = range->kvs[0].mod_revision;
    }
    list_add_tail(reads, &read->link);
    return read;
}

/* ---- reading ----------------------------------------------------------------------------- */

/* NULL: it failed, now or before. */
static struct read *fetch(struct etcd_stm *stm, struct etcd_slice key)
{
    if (stm->error.code != ETCD_OK) {
        return NULL;
    }
    struct read *read = read_find(&stm->reads, key);
    if (read != NULL) {
        return read;
    }
    read = read_find(&stm->prefetched, key);
    if (read != NULL) {
        list_del(&read->link);
        list_add_tail(&stm->reads, &read->link);
    } else {
        struct etcd_op op = etcd_op_get(key);
        struct etcd_result *result = NULL;
        op.revision = stm->base;
        /* As of a revision there is only one answer; and who reads what was committed at any time
         * need not wait for the leader. The first read of one revision has to be the newest. */
        op.flags = has_one_revision(stm) && stm->base == 0 ? 0 : ETCD_SERIALIZABLE;
        if (etcd_do(stm->client, &op, &result, &stm->error) != ETCD_OK) {
            return NULL;
        }
        read = read_add(&stm->reads, key, result, stm->base == 0 ? result->revision : stm->base);
        etcd_result_free(&result);
    }
    if (has_one_revision(stm) && stm->base == 0) {
        stm->base = read->revision;
    }
    return read;
}

struct etcd_slice etcd_stm_get(struct etcd_stm *stm, struct etcd_slice key)
{
    struct write *write = write_find(stm, key);
    if (write != NULL) {
        return etcd__public(buf_slice(&write->value));
    }
    struct read *read = fetch(stm, key);
    return read == NULL ? etcd_bytes("", 0) : etcd__public(buf_slice(&read->value));
}

int64_t etcd_stm_revision(struct etcd_stm *stm, struct etcd_slice key)
{
    struct read *read = fetch(stm, key);
    return read == NULL ? 0 : read->mod_revision;
}

/* ---- writing ----------------------------------------------------------------------------- */

static struct write *write_of(struct etcd_stm *stm, struct etcd_slice key)
{
    struct write *write = write_find(stm, key);
    if (write == NULL) {
        write = NEW(struct write);
        buf_append_slice(&write->key, etcd__slice(key));
        list_add_tail(&stm->writes, &write->link);
    }
    buf_reset(&write->value);
    write->lease = 0;
    write->is_delete = false;
    return write;
}

void etcd_stm_put(struct etcd_stm *stm, struct etcd_slice key, struct etcd_slice value,
                  int64_t lease)
{
    struct buf copy = {0}; /* the value may be one of our own */
    buf_append_slice(&copy, etcd__slice(value));
    struct write *write = write_of(stm, key);
    buf_fini(&write->value);
    write->value = copy;
    write->lease = lease;
}

void etcd_stm_delete(struct etcd_stm *stm, struct etcd_slice key)
{
    write_of(stm, key)->is_delete = true;
}

/* ---- committing -------------------------------------------------------------------------- */

static void add_compare(struct etcd_txn *txn, const struct buf *key, enum etcd_relation relation,
                        int64_t revision)
{
    struct etcd_compare compare = {.target = ETCD_MOD,
                                   .relation = relation,
                                   .key = etcd__public(buf_slice(key)),
                                   .number = revision};
    etcd_txn_if(txn, &compare);
}

static struct etcd_txn *make_txn(struct etcd_stm *stm)
{
    struct etcd_txn *txn = etcd_txn_new();
    bool checks_reads = stm->isolation != ETCD_READ_COMMITTED;
    LIST_FOR_EACH (&stm->reads, node) {
        const struct read *read = CONTAINER_OF(node, struct read, link);
        if (checks_reads) {
            add_compare(txn, &read->key, ETCD_EQUAL, read->mod_revision);
        }
        if (has_one_revision(stm)) {
            struct etcd_op op = etcd_op_get(etcd__public(buf_slice(&read->key)));
            etcd_txn_else(txn, &op);
        }
    }
    LIST_FOR_EACH (&stm->writes, node) {
        const struct write *write = CONTAINER_OF(node, struct write, link);
        if (stm->isolation == ETCD_SERIALIZABLE_SNAPSHOT && stm->base != 0) {
            add_compare(txn, &write->key, ETCD_LESS, client__behind(stm->base));
        }
        struct etcd_slice key = etcd__public(buf_slice(&write->key));
        struct etcd_op op = write->is_delete
                                ? etcd_op_delete(key)
                                : etcd_op_put(key, etcd__public(buf_slice(&write->value)));
        op.lease = write->lease;
        etcd_txn_then(txn, &op);
    }
    return txn;
}

/* What the failed commit has read again becomes the start of the next run. */
static void start_again(struct etcd_stm *stm, const struct etcd_result *failed)
{
    struct list old;
    size_t i = 0;
    list_init(&old);
    list_splice(&old, &stm->reads);
    reads_free(&stm->prefetched);
    LIST_FOR_EACH (&old, node) {
        const struct read *read = CONTAINER_OF(node, struct read, link);
        if (failed != NULL && i < failed->response_count) {
            read_add(&stm->prefetched, etcd__public(buf_slice(&read->key)), &failed->responses[i],
                     failed->revision);
        }
        i++;
    }
    reads_free(&old);
    writes_free(&stm->writes);
    stm->base = 0;
}

/* True: over, for good or ill. */
static bool run_once(struct etcd_stm *stm, etcd_stm_fn *apply, void *ctx, int *code_out,
                     struct etcd_result **out, struct etcd_error *error)
{
    struct etcd_result *result = NULL;
    *code_out = apply(stm, ctx);
    if (stm->error.code != ETCD_OK) {
        *code_out = etcd__error(error, stm->error.code, stm->error.text);
        return true;
    }
    if (*code_out != ETCD_OK) {
        etcd__error(error, *code_out, "the transaction was given up by its body");
        return true;
    }
    struct etcd_txn *txn = make_txn(stm);
    struct etcd_op op = etcd_op_txn(txn);
    *code_out = etcd_do(stm->client, &op, &result, error);
    etcd_txn_free(&txn);
    if (*code_out != ETCD_OK) {
        return true;
    }
    if (!result->succeeded) {
        start_again(stm, has_one_revision(stm) ? result : NULL);
        etcd_result_free(&result);
        return false;
    }
    if (out != NULL) {
        *out = result;
    } else {
        etcd_result_free(&result);
    }
    return true;
}

int etcd_stm(struct etcd_client *client, enum etcd_isolation isolation, etcd_stm_fn *apply,
             void *ctx, struct etcd_result **out, struct etcd_error *error)
{
    struct etcd_stm stm = {.client = client, .isolation = isolation};
    int code = ETCD_OK;
    list_init(&stm.reads);
    list_init(&stm.prefetched);
    list_init(&stm.writes);
    while (!run_once(&stm, apply, ctx, &code, out, error)) {
    }
    reads_free(&stm.reads);
    reads_free(&stm.prefetched);
    writes_free(&stm.writes);
    return code;
}
