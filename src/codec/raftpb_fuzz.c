/* Hostile raft messages of every kind; the first byte picks one. Property: what decodes, encodes to
 * something that decodes and encodes to the same bytes. */
#include "codec/raftpb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROUND_TRIP(kind, decode_first, decode_second)                                              \
    do {                                                                                           \
        struct raftpb_##kind first;                                                                \
        struct raftpb_##kind second;                                                               \
        if ((decode_first) == ERR_OK) {                                                            \
            raftpb_##kind##_put(buf_extend(&a, raftpb_##kind##_size(&first)), &first);             \
            ASSERT((decode_second) == ERR_OK);                                                     \
            raftpb_##kind##_put(buf_extend(&b, raftpb_##kind##_size(&second)), &second);           \
            ASSERT(slice_eq(buf_slice(&a), buf_slice(&b)));                                        \
        }                                                                                          \
    } while (0)

#define PLAIN(kind)                                                                                \
    ROUND_TRIP(kind, raftpb_##kind##_decode(in, &first),                                           \
               raftpb_##kind##_decode(buf_slice(&a), &second))
#define IN_ARENA(kind)                                                                             \
    ROUND_TRIP(kind, raftpb_##kind##_decode(&arena, in, &first),                                   \
               raftpb_##kind##_decode(&arena, buf_slice(&a), &second))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct buf a = {0};
    struct buf b = {0};
    if (size == 0) {
        return 0;
    }
    struct slice in = slice_of(data + 1, size - 1);
    arena_init(&arena);
    switch (data[0] % 11) {
    case 0:
        PLAIN(entry);
        break;
    case 1:
        PLAIN(hard_state);
        break;
    case 2:
        IN_ARENA(conf_state);
        break;
    case 3:
        IN_ARENA(snapshot);
        break;
    case 4:
        PLAIN(conf_change);
        break;
    case 5:
        IN_ARENA(conf_change_v2);
        break;
    case 6:
        IN_ARENA(message);
        break;
    case 7:
        PLAIN(record);
        break;
    case 8:
        IN_ARENA(wal_snapshot);
        break;
    case 9:
        PLAIN(metadata);
        break;
    default:
        PLAIN(snap_file);
        break;
    }
    buf_fini(&a);
    buf_fini(&b);
    arena_fini(&arena);
    return 0;
}
