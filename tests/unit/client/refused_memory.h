/* Memory that is refused where a test says so. malloc, calloc and realloc of the library are wrapped by the linker;
 * only those of the test's own thread are counted, since the scripted server lives in another. */
#pragma once

#include <stdbool.h>

/* From the `first` allocation on (0: the next one), `count` of them in a row are refused. */
void refuse_memory(int first, int count);

/* No more; true: some was refused since. */
bool refuse_memory_no_more(void);
