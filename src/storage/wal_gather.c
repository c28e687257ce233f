#include "storage/wal_gather.h"

/* Waking up for it, and asking the disk once more, cost as much as a sync that is so quick. */
#define SYNC_MIN_NS (50 * NS_PER_US)
#define WINDOW_MAX_NS (2 * NS_PER_MS)
#define RETURN_FIRST_NS (100 * NS_PER_US)
#define RETURN_MIN_NS NS_PER_US
#define RETURN_MAX_NS (4 * NS_PER_MS)

void gather_init(struct gather *gather)
{
    *gather = (struct gather){.return_ns = RETURN_FIRST_NS};
}

/* A step towards what was seen, of a size that does not depend on it: one client that has slept
 * does not count for more than one that has not. */
static void sample_return(struct gather *gather, uint64_t seen_ns)
{
    uint64_t step = gather->return_ns / 8;
    if (seen_ns > gather->return_ns) {
        gather->return_ns += gather->return_ns < RETURN_MAX_NS ? step : 0;
    } else {
        gather->return_ns -= gather->return_ns > RETURN_MIN_NS ? step : 0;
    }
}

/* Waiting costs return_ns, and begins a sync with those who would have to wait for the end of it.
 */
static bool is_worth(const struct gather *gather)
{
    return gather->sync_ns >= SYNC_MIN_NS && gather->return_ns <= gather->sync_ns / 2 &&
           gather->return_ns <= WINDOW_MAX_NS / 2;
}

static uint64_t window_ns(const struct gather *gather)
{
    uint64_t most = gather->sync_ns / 4 * 3;
    return 2 * gather->return_ns < most ? 2 * gather->return_ns : most;
}

void gather_synced(struct gather *gather, mono_ns now, uint64_t sync_ns, size_t count,
                   size_t queued)
{
    if (gather->awaited > 0) {
        sample_return(gather, UINT64_MAX);
    }
    gather->sync_ns = gather->sync_ns == 0 ? sync_ns : (gather->sync_ns * 7 + sync_ns) / 8;
    gather->synced_at = now;
    gather->awaited = count - count / 8;
    gather->expected = queued + gather->awaited;
    gather->until = is_worth(gather) ? now + window_ns(gather) : 0;
}

void gather_arrived(struct gather *gather, mono_ns now, size_t count)
{
    if (gather->awaited == 0) {
        return;
    }
    if (count < gather->awaited) {
        gather->awaited -= count;
        return;
    }
    gather->awaited = 0;
    sample_return(gather, now - gather->synced_at);
}

mono_ns gather_wait(const struct gather *gather, mono_ns now, size_t queued)
{
    return now < gather->until && queued < gather->expected ? gather->until : 0;
}
