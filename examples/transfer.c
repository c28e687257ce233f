/* Money moves between two accounts, in transactions that run again when somebody else got in
 * between.
 *
 *   cc transfer.c $(pkg-config --cflags --libs etcdclient) -o transfer
 *   ./transfer 127.0.0.1:2379 */
#include <etcdclient.h>

#include <stdio.h>
#include <stdlib.h>

static int fail(const char *what, const struct etcd_error *error)
{
    fprintf(stderr, "%s: %s\n", what, error->text);
    return 1;
}

static long number(struct etcd_slice text)
{
    char copy[32];
    snprintf(copy, sizeof(copy), "%.*s", (int)text.len, (const char *)text.data);
    return strtol(copy, NULL, 10);
}

static void put_number(struct etcd_stm *stm, const char *key, long value)
{
    char text[32];
    snprintf(text, sizeof(text), "%ld", value);
    etcd_stm_put(stm, etcd_str(key), etcd_str(text), 0);
}

/* The body reads and writes, and has no other effects: it may run more than once. */
static int transfer(struct etcd_stm *stm, void *ctx)
{
    long amount = *(const long *)ctx;
    long from = number(etcd_stm_get(stm, etcd_str("/accounts/ann")));
    long to = number(etcd_stm_get(stm, etcd_str("/accounts/bob")));
    if (from < amount) {
        return ETCD_ABORTED; /* nothing is written */
    }
    put_number(stm, "/accounts/ann", from - amount);
    put_number(stm, "/accounts/bob", to + amount);
    return ETCD_OK;
}

static void show(struct etcd_client *client, const char *key)
{
    struct etcd_result *result = NULL;
    if (etcd_get(client, key, &result, NULL) == ETCD_OK && result->kv_count == 1) {
        printf("%s has %.*s\n", key, (int)result->kvs[0].value.len,
               (const char *)result->kvs[0].value.data);
    }
    etcd_result_free(&result);
}

int main(int argc, char **argv)
{
    const char *endpoint = argc > 1 ? argv[1] : "127.0.0.1:2379";
    struct etcd_options options = {.endpoints = &endpoint, .endpoint_count = 1, .timeout_ms = 5000};
    struct etcd_client *client = NULL;
    struct etcd_error error;
    if (etcd_open(&options, &client, &error) != ETCD_OK) {
        return fail("open", &error);
    }
    if (etcd_put(client, "/accounts/ann", "100", &error) != ETCD_OK ||
        etcd_put(client, "/accounts/bob", "0", &error) != ETCD_OK) {
        return fail("put", &error);
    }
    long amounts[] = {30, 50, 90};
    for (int i = 0; i < 3; i++) {
        int code =
            etcd_stm(client, ETCD_SERIALIZABLE_SNAPSHOT, transfer, &amounts[i], NULL, &error);
        printf("%ld: %s\n", amounts[i], code == ETCD_OK ? "moved" : error.text);
    }
    show(client, "/accounts/ann");
    show(client, "/accounts/bob");
    etcd_close(&client);
    return 0;
}
