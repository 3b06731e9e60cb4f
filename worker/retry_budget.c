/*
 * retry_budget.c - see retry_budget.h. What was earned and spent within the last minute stands in
 * slots of ten seconds; an old slot is emptied when its place is needed. Nothing can fail.
 */
#include "worker/retry_budget.h"

enum {
    UNIT = 1000, /* thousandths: one retry */
    SECOND_US = 1000 * 1000,
};

/* Empties the slots that are over. Returns where the newest stands. */
static int turn(struct retry_budget *b, int64_t now_us)
{
    int64_t newest = now_us / RETRY_BUDGET_SLOT_US;
    if (newest - b->newest > RETRY_BUDGET_SLOTS)
        b->newest = newest - RETRY_BUDGET_SLOTS;
    while (b->newest < newest) {
        int i = (int)(++b->newest % RETRY_BUDGET_SLOTS);
        b->earned[i] = b->spent[i] = 0;
    }
    return (int)(b->newest % RETRY_BUDGET_SLOTS);
}

/* What is left; below 0: what is owed. */
static int64_t left(const struct retry_budget *b)
{
    int64_t units = (int64_t)RETRY_BUDGET_FLOOR * UNIT;
    for (int i = 0; i < RETRY_BUDGET_SLOTS; i++)
        units += b->earned[i] - b->spent[i];
    return units;
}

void retry_budget_first(struct retry_budget *b, int share_permille, int64_t now_us)
{
    b->earned[turn(b, now_us)] += share_permille;
}

void retry_budget_charge(struct retry_budget *b, int64_t now_us)
{
    b->spent[turn(b, now_us)] += UNIT;
}

bool retry_budget_take(struct retry_budget *b, int64_t now_us)
{
    int i = turn(b, now_us);
    if (left(b) < UNIT)
        return false;
    b->spent[i] += UNIT;
    return true;
}

/* From the youngest slot that has it: what is given back late must not outlive what was taken. */
void retry_budget_give_back(struct retry_budget *b, int64_t now_us)
{
    (void)turn(b, now_us);
    for (int64_t slot = b->newest; slot > b->newest - RETRY_BUDGET_SLOTS && slot >= 0; slot--) {
        int64_t *spent = &b->spent[slot % RETRY_BUDGET_SLOTS];
        if (*spent < UNIT)
            continue;
        *spent -= UNIT;
        return;
    }
}

void retry_budget_answered(struct retry_budget *b, int64_t now_us)
{
    b->earned[turn(b, now_us)] += 2 * (int64_t)UNIT;
}

/* When slots that run out will have left enough for one retry. */
static int64_t enough_at(const struct retry_budget *b, int64_t now_us)
{
    int64_t units = left(b);
    for (int64_t slot = b->newest - RETRY_BUDGET_SLOTS + 1; slot <= b->newest; slot++) {
        if (units >= UNIT)
            break;
        if (slot < 0)
            continue;
        int i = (int)(slot % RETRY_BUDGET_SLOTS);
        units += b->spent[i] - b->earned[i];
        now_us = (slot + RETRY_BUDGET_SLOTS) * RETRY_BUDGET_SLOT_US;
    }
    return now_us;
}

/* Those that wait ask one after the other, as fast as a minute like the last one would let them
 * go. */
int64_t retry_budget_ask_at(struct retry_budget *b, int64_t now_us, uint64_t seed)
{
    (void)turn(b, now_us);
    int64_t a_minute = (int64_t)RETRY_BUDGET_FLOOR * UNIT;
    for (int i = 0; i < RETRY_BUDGET_SLOTS; i++)
        a_minute += b->earned[i];
    int64_t enough_us = enough_at(b, now_us);
    b->line_us = (b->line_us > enough_us ? b->line_us : enough_us) +
                 (int64_t)60 * SECOND_US * UNIT / a_minute;
    if (b->line_us - now_us > RETRY_BUDGET_WAIT_MAX_US) { /* the line is full: not all at its end */
        b->line_us = now_us + RETRY_BUDGET_WAIT_MAX_US;
        return b->line_us - (int64_t)(seed % (RETRY_BUDGET_WAIT_MAX_US / 2));
    }
    return b->line_us - now_us < SECOND_US ? now_us + SECOND_US : b->line_us;
}
