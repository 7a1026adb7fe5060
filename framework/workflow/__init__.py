"""What a person does with an experiment, as functions: plan, train, open a run, evaluate, compare, synthesise."""
