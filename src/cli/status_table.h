/* What `cohort status` shows to a person: a table of the nodes, and tables of shards by nodes, as many beside each
 * other as the width takes. */
#pragma once

#include "cli/status_view.h"

void status_table_print(const struct view *view);
