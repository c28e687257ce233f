/* Directories that are not ours to serve: refused with a sentence, and left as they are. */
#include "server/server_run.h"

static struct config *config;

static struct disk *make_member(const struct config *of)
{
    struct world w;
    world_open(&w, of, sim_disk_new());
    call_end(&w, call_submit(&w, call_put("a", "1")), STATUS_OK);
    world_close(&w);
    return w.disk;
}

static void write_row(struct disk *disk, enum backend_bucket bucket, const char *key,
                      const char *value)
{
    struct world w;
    world_open(&w, config, disk);
    backend_put(w.server->backend, bucket, slice_str(key), slice_str(value));
    world_close(&w);
}

static void refused(struct disk *disk, const char *part, const char *other)
{
    struct world w;
    struct errbuf why = {""};
    sim_disk_crash(disk, SIM_CRASH_KEEP, 1);
    uint64_t before = sim_disk_digest(disk);
    assert_false(world_try(&w, config, disk, 0, &why));
    assert_non_null(strstr(why.text, "/data/member/snap/db"));
    assert_non_null(strstr(why.text, part));
    assert_non_null(strstr(why.text, other));
    assert_true(sim_disk_digest(disk) == before);
}

TEST(server_origin, a_database_of_a_newer_version_is_refused)
{
    static const struct {
        enum backend_bucket bucket;
        const char *key;
        const char *version;
        bool is_refused;
    } cases[] = {
        {BUCKET_META, "storageVersion", "3.7.0", true},
        {BUCKET_META, "storageVersion", "4.0.0", true},
        {BUCKET_META, "storageVersion", "3.6.99", false},
        {BUCKET_CLUSTER, "clusterVersion", "3.10.0", true},
        {BUCKET_CLUSTER, "clusterVersion", "3.6.0", false},
        {BUCKET_CLUSTER, "clusterVersion", "2.9.0", false},
        {BUCKET_CLUSTER, "clusterVersion", "", false},
        {BUCKET_CLUSTER, "clusterVersion", "no version", false},
    };
    config = world_config("1000");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct disk *disk = make_member(config);
        write_row(disk, cases[i].bucket, cases[i].key, cases[i].version);
        if (cases[i].is_refused) {
            refused(disk, cases[i].version, "newer etcd");
        } else {
            struct world w;
            world_open(&w, config, disk);
            assert_string_equal(world_get(&w, "a", false), "1");
            world_close(&w);
        }
        sim_disk_free(&disk);
    }
    config_free(&config);
}

/* Compatibility: etcdctl 3.4 restores such directories, and its etcd never mends their rows. */
TEST(server_origin, a_database_that_does_not_know_the_member_is_served)
{
    struct buf db = {0};
    config = world_config("1000");
    struct config *other = world_config("1000");
    other->initial_cluster_token = "another";
    struct disk *disk = make_member(config);
    struct disk *elsewhere = make_member(other);
    const char *path = config_backend_path(config);
    assert_int_equal(disk_read_file(elsewhere, path, (size_t)1 << 30, &db, NULL), ERR_OK);
    assert_int_equal(disk_write_file(disk, path, buf_slice(&db), NULL), ERR_OK);
    struct world w;
    world_open(&w, config, disk);
    assert_string_equal(world_get(&w, "a", false), "1");
    world_close(&w);
    buf_fini(&db);
    sim_disk_free(&disk);
    sim_disk_free(&elsewhere);
    config_free(&other);
    config_free(&config);
}
