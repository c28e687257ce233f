#include "server/ids.h"

#include "unit.h"

TEST(ids, member_is_the_digest_of_urls_and_token)
{
    const char *peer[] = {"http://127.0.0.1:24784"};
    const char *standard[] = {"http://localhost:2380"};
    assert_int_equal(ids_member(peer, 1, "tokc"), 0x8a334b0770c0afad);
    assert_int_equal(ids_member(standard, 1, "etcd-cluster"), 0x8e9e05c52164694d);
}

TEST(ids, order_of_urls_does_not_matter_and_the_array_is_left_alone)
{
    const char *forth[] = {"http://a:1", "http://b:1"};
    const char *back[] = {"http://b:1", "http://a:1"};
    assert_int_equal(ids_member(forth, 2, "t"), ids_member(back, 2, "t"));
    assert_string_equal(back[0], "http://b:1");
    assert_int_not_equal(ids_member(forth, 2, "t"), ids_member(forth, 2, "u"));
}

TEST(ids, added_member_has_its_time_in_place_of_the_token)
{
    const char *peer[] = {"http://127.0.0.1:1"};
    assert_int_equal(ids_member_added(peer, 1, 1700000000), ids_member(peer, 1, "1700000000"));
    assert_int_equal(ids_member_added(peer, 1, -5), ids_member(peer, 1, "-5"));
}

TEST(ids, cluster_is_the_digest_of_ascending_member_ids)
{
    const uint64_t three[] = {0x8a334b0770c0afad, 0x586965c399d31533, 0x7ae9efb2908e9c7f};
    const uint64_t one[] = {0x8e9e05c52164694d};
    assert_int_equal(ids_cluster(three, 3), 0x19f34f41f91c6e38);
    assert_int_equal(ids_cluster(one, 1), 0xcdf818194e3a8c32);
    assert_int_equal(three[0], 0x8a334b0770c0afad);
}

TEST(ids, generator_counts_up_from_member_and_start)
{
    struct id_generator gen;
    /* 0x123456789 ms, given in nanoseconds */
    id_generator_init(&gen, 0xabcdef0000001234, 0x123456789 * (int64_t)1000000 + 999999);
    assert_int_equal(id_generator_next(&gen), 0x1234012345678901);
    assert_int_equal(id_generator_next(&gen), 0x1234012345678902);
}

TEST(ids, generator_runs_over_into_the_time_and_never_into_the_member)
{
    struct id_generator gen;
    id_generator_init(&gen, 0x12, 0);
    for (int i = 0; i < 255; i++) {
        id_generator_next(&gen);
    }
    assert_int_equal(id_generator_next(&gen), 0x0012000000000100);
    gen.suffix = ((uint64_t)1 << 48) - 1;
    assert_int_equal(id_generator_next(&gen), 0x0012000000000000);
}

TEST(ids, only_forty_bits_of_time_count)
{
    struct id_generator gen;
    id_generator_init(&gen, 0, ((int64_t)1 << 40) * 1000000);
    assert_int_equal(id_generator_next(&gen), 1);
}
