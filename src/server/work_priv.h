/* Shared inside work*.c only. */
#ifndef SERVER_WORK_PRIV_H
#define SERVER_WORK_PRIV_H

#include "server/apply_priv.h"
#include "server/work.h"

static inline void work__spend(uint64_t *budget, uint64_t units)
{
    *budget -= units < *budget ? units : *budget;
}

/* work_compare.c: the compares of `txn`, from work->compare on. False: the budget is used up. */
bool work__compare(struct work *work, const Etcdserverpb__TxnRequest *txn, uint64_t *budget,
                   bool *holds_out);
/* work_reply.c: the stages WORK_MEASURE and WORK_LAY_OUT. */
bool work__measure(struct work *work, uint64_t *budget);
bool work__lay_out(struct work *work, uint64_t *budget);

#endif
