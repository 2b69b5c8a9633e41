/* fair.c: what keeps one task from taking all turns: the budget of operations that need not wait, and a word about those
   that only yield. */
#include "core/task.h"

enum {
    STEP_MAX = 128,  /* operations of one step */
    TURN_MAX = 4096, /* of all steps of a turn, before the kernel is asked again */
    SHARE = 8,       /* of each further step */
    YIELDS_MAX = 10000
};

int32_t neap_loop_spend(neap_loop *loop, uint32_t n) {
    int32_t rc = loop == NULL ? NEAP_EINVAL : np_look(loop);
    if (rc < 0)
        return rc;
    loop->step_spent += n;
    loop->turn_spent += n;
    return loop->step_spent < SHARE || (loop->step_spent < STEP_MAX && loop->turn_spent < TURN_MAX);
}

/* Who has started operations meanwhile works, and is not to blame.  Told of once until it waits. */
void np_task_note_yield(neap_task *t) {
    neap_loop *loop = t->f.obj.loop;
    if (t->yields > YIELDS_MAX)
        return;
    t->yields = loop->step_spent > 0 ? 0 : (uint16_t)(t->yields + 1);
    if (t->yields < YIELDS_MAX)
        return;
    t->yields = YIELDS_MAX + 1;
    np_logf(loop, NEAP_LOG_INFO, "task %s has yielded %d times in a row without waiting: it spins",
            neap_task_name(t), YIELDS_MAX);
}
