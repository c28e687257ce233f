/* Prints the hashes of a database file as the store computes them, for comparison with a real
 * etcd's: one line "hashkv REV HASH COMPACT_REV" for each revision asked for (0: the current), and
 * "hash HASH" for the whole file.
 *
 * usage: mvcc_hash COPY_OF_DB [REV ...]
 *
 * The file is opened for writing: give it a copy. */
#include "state/mvcc.h"
#include "storage/manual_env.h"

#include <stdio.h>
#include <stdlib.h>

static void print_hashkv(struct mvcc *store, int64_t revision)
{
    struct mvcc_hash *hash;
    struct mvcc_hash_result result;
    enum err err = mvcc_hash_begin(store, revision, &hash);
    if (err != ERR_OK) {
        printf("hashkv %lld %s\n", (long long)revision, err_name(err));
        return;
    }
    mvcc_hash_run(hash);
    mvcc_hash_end(&hash, &result);
    printf("hashkv %lld %u %lld\n", (long long)revision, result.hash,
           (long long)result.compact_revision);
}

int main(int argc, char **argv)
{
    struct manual_env manual;
    struct backend *backend;
    struct mvcc *store;
    struct errbuf why;
    if (argc < 2) {
        fprintf(stderr, "usage: mvcc_hash COPY_OF_DB [REV ...]\n");
        return 2;
    }
    manual_env_init(&manual, NULL);
    struct backend_options options = {.env = &manual.env, .path = argv[1]};
    if (backend_open(&options, &backend, &why) != ERR_OK) {
        fatal("%s", why.text);
    }
    struct mvcc_options mvcc = {.backend = backend};
    if (mvcc_open(&mvcc, &store, &why) != ERR_OK) {
        fatal("%s", why.text);
    }
    for (int i = 2; i < argc; i++) {
        print_hashkv(store, strtoll(argv[i], NULL, 10));
    }
    struct mvcc_hash *hash;
    struct mvcc_hash_result result;
    mvcc_hash_all_begin(store, &hash);
    mvcc_hash_run(hash);
    mvcc_hash_end(&hash, &result);
    printf("hash %u\nrevision %lld\n", result.hash, (long long)mvcc_revision(store));
    mvcc_check(store);
    mvcc_close(&store);
    backend_close(&backend);
    return 0;
}
