mod broken;
mod build;
mod forms;
mod hostile;
mod tensors;
