#include "core/testhooks.h"

int32_t np_test_step(neap_task *task) {
    if (!np_future_pending(&task->f))
        return NEAP_EINVALID_STATE;
    if ((task->awaiting != NULL && np_future_pending(task->awaiting)) ||
        (task->asleep && task->node.where == NP_AT_NONE))
        return NEAP_EAWAIT_NOT_DONE;
    np_dequeue(&task->node);
    np_stamp(task->f.obj.loop);
    np_task_run(task);
    return 0;
}
