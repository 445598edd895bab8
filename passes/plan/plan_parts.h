// The parts that make_plan puts together, each in the file of its name.
#pragma once
#include "passes/plan/job.h"
#include "passes/plan/layouts.h"

namespace optp {

// A formula at the examples' dims; 0 where one is missing.
int64_t number_at(Dim formula, const DimValues& examples);

// plan_ports.cpp: what goes into the rank graphs and comes out, with state and updates.
void add_ports(Plan& plan, const Job& job, Layouts& layouts);
UpdateKind kind_of(const Plan::Port& port);  // of a port that an update carries on

// plan_data.cpp: parameters and constants, with their totals and what each device holds of them.
void add_data(Plan& plan, const Graph& whole, Layouts& layouts);

// plan_collectives.cpp: what is communicated, in order, and the sums of it.
void add_collectives(Plan& plan, const Job& job, const DimValues& examples);
// The most elements that one of the members of a group sends, where each sends every chunk to the member that owns it,
// and what it owns to the others.
Dim sent_elements(const CollectiveCall& call, int64_t members);

// plan_flow.cpp: the forward graph as people draw it. The nodes that use a parameter, products, norms, softmax,
// activation functions and joins of branches, and the collectives between them.
std::vector<Plan::FlowEntry> plan_flow(const Job& job);
std::string node_name(const Node& node);  // or its result's

// plan_work.cpp: arithmetic, and what a training step keeps.
void add_work(Plan& plan, const Job& job, const DimValues& examples);

}  // namespace optp
