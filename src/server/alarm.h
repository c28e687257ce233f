/* Alarms: which member has raised what. Kept in bucket `alarm` as the marshalled AlarmMember.
 *
 * Changes only when an Alarm request is applied, so every member has the same set.
 * Threads: loop thread only. */
#ifndef SERVER_ALARM_H
#define SERVER_ALARM_H

#include "storage/backend.h"

enum alarm_type {
    ALARM_NONE = 0,
    ALARM_NOSPACE = 1,
    ALARM_CORRUPT = 2,
};

struct alarm {
    uint64_t member_id;
    int32_t type; /* enum alarm_type, or what a newer version knows */
};

struct alarms;

/* Reads the bucket. ERR_CORRUPT: a row is no AlarmMember. The backend must outlive the set. */
FALLIBLE alarms_open(struct backend *backend, struct alarms **out, struct errbuf *why);
void alarms_close(struct alarms **alarms);

/* True when it was not there. */
bool alarms_activate(struct alarms *alarms, struct alarm alarm);
/* True when it was there. */
bool alarms_deactivate(struct alarms *alarms, struct alarm alarm);

bool alarms_any(const struct alarms *alarms, enum alarm_type type);
/* By position, in order of type, then member id. */
size_t alarms_count(const struct alarms *alarms);
struct alarm alarms_at(const struct alarms *alarms, size_t at);

/* "NONE", "NOSPACE", "CORRUPT", or "UNKNOWN" */
const char *alarm_type_name(int32_t type);

/* AlarmMember on the wire and on disk: appended. */
void alarm_encode(struct alarm alarm, struct buf *out);

#endif
