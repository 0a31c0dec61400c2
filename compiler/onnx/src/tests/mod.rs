mod broken;
mod build;
mod forms;
mod hostile;
mod operators;
mod tensors;
