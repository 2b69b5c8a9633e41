#include "base/thread.h"

_Thread_local char np_thread_byte;
